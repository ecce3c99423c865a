"""How is the root key of a knowledge base kept, and what is derived from it? (`docs/spec/knowledge_base.md` §2).

`keyslots.json` holds the root key once per slot, each time wrapped with a key that a passphrase or the keychain gives.
"""

from __future__ import annotations

import base64
import contextlib
import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mitai.errors import (
    KnowledgeBaseDamaged,
    KnowledgeBaseNotFound,
    KnowledgeBaseTooNew,
    NoKeychain,
    StorageFailed,
    WrongPassphrase,
)
from mitai.formats import (
    ARGON2_MAX_MEMORY_KIB,
    ARGON2_VERSION,
    CONTENT_HASH_LABEL,
    DATABASE_KEY_LABEL,
    KB_ID_BYTES,
    KEY_BYTES,
    KEYCHAIN_SERVICE,
    KEYSLOTS_FILE,
    KEYSLOTS_FORMAT_PREFIX,
    KEYSLOTS_FORMAT_VERSION,
    MAX_KEYSLOTS_BYTES,
    MAX_SLOTS,
    NONCE_BYTES,
    SALT_BYTES,
    SLOT_ID_BYTES,
    TAG_BYTES,
)
from mitai.keyslots import keychain, private_file
from mitai.keyslots.passphrase import Argon2Parameters, derive_key, passphrase_bytes
from mitai_crypto.fields import Fields
from mitai_crypto.strict_json import encode_canonical, parse_object

if TYPE_CHECKING:
    from pathlib import Path

    from mitai_crypto.strict_json import JsonObject

_FORMAT = f"{KEYSLOTS_FORMAT_PREFIX}{KEYSLOTS_FORMAT_VERSION}"


class SlotKind(StrEnum):
    """What opens a slot."""

    PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind of slot
    KEYCHAIN = "keychain"


@dataclass(frozen=True)
class Slot:
    """One wrapping of the root key; everything but `wrapped` and `nonce` is authenticated by it.

    Attributes:
        slot_id: 16 hexadecimal digits.
        kind: What opens it.
        params: What is needed to find the wrapping key, as it stands in the file.
        nonce: 12 bytes.
        wrapped: The root key, sealed: 48 bytes.
    """

    slot_id: str
    kind: SlotKind
    params: JsonObject
    nonce: bytes
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True)
class RootKey:
    """The root key of a knowledge base, which is input to HKDF and nothing else.

    Attributes:
        kb_id: The knowledge base's random id, 32 hexadecimal digits.
        secret: 32 bytes; hidden in `repr`.
    """

    kb_id: str
    secret: bytes = field(repr=False)

    def database_key(self) -> bytes:
        """Derive the raw key of the SQLCipher database."""
        return self._derive(DATABASE_KEY_LABEL)

    def content_hash_key(self) -> bytes:
        """Derive the key of content and path hashes."""
        return self._derive(CONTENT_HASH_LABEL)

    def _derive(self, label: bytes) -> bytes:
        info = label + b"\0" + bytes.fromhex(self.kb_id)
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self.secret)


@dataclass(frozen=True)
class KeySlots:
    """The content of `keyslots.json`."""

    kb_id: str
    slots: tuple[Slot, ...]

    def encode(self) -> bytes:
        """Encode as the file's bytes."""
        return encode_canonical(
            {
                "format": _FORMAT,
                "kb": self.kb_id,
                "slots": [
                    {
                        "id": slot.slot_id,
                        "kind": slot.kind.value,
                        "params": slot.params,
                        "nonce": base64.b64encode(slot.nonce).decode(),
                        "wrapped": base64.b64encode(slot.wrapped).decode(),
                    }
                    for slot in self.slots
                ],
            }
        )

    def open_with_passphrase(self, passphrase: str) -> RootKey:
        """Try a passphrase on every passphrase slot.

        Raises:
            WrongPassphrase: None opens.
            PassphraseRefused: The text cannot be a passphrase.
        """
        data = passphrase_bytes(passphrase)
        for slot in self._of(SlotKind.PASSPHRASE):
            parameters, salt = _argon2_of(slot)
            root = _unwrap(self.kb_id, slot, derive_key(data, salt, parameters))
            if root is not None:
                return root
        raise WrongPassphrase("no key slot of this knowledge base opens with that passphrase")

    def open_with_keychain(self) -> RootKey:
        """Open the keychain slot that this machine's keychain holds the key of.

        Raises:
            NoKeychain: There is no such slot or no such key.
            WrongPassphrase: The keychain's key does not open its slot.
        """
        slots = self._of(SlotKind.KEYCHAIN)
        if not slots:
            raise NoKeychain("this knowledge base has no keychain slot")
        refusal: NoKeychain | None = None
        for slot in slots:
            service, account = _keychain_of(slot)
            try:
                root = _unwrap(self.kb_id, slot, keychain.load_key(service, account))
            except NoKeychain as error:
                refusal = error
                continue
            if root is not None:
                return root
        raise refusal or WrongPassphrase("the keychain's key does not open this knowledge base")

    def _of(self, kind: SlotKind) -> list[Slot]:
        return [slot for slot in self.slots if slot.kind is kind]


def new_root_key() -> RootKey:
    """Make the random key and id of a new knowledge base."""
    return RootKey(os.urandom(KB_ID_BYTES).hex(), os.urandom(KEY_BYTES))


def passphrase_slot(root: RootKey, passphrase: str, parameters: Argon2Parameters) -> Slot:
    """Wrap the root key for a passphrase.

    Raises:
        PassphraseRefused: The text cannot be a passphrase.
    """
    salt = os.urandom(SALT_BYTES)
    params: JsonObject = {
        "algorithm": "argon2id",
        "version": ARGON2_VERSION,
        "memory_kib": parameters.memory_kib,
        "time_cost": parameters.time_cost,
        "parallelism": parameters.parallelism,
        "salt": base64.b64encode(salt).decode(),
    }
    key = derive_key(passphrase_bytes(passphrase), salt, parameters)
    return _wrap(root, SlotKind.PASSPHRASE, _new_slot_id(), params, key)


def keychain_slot(root: RootKey) -> Slot:
    """Wrap the root key for this machine's keychain, which keeps the wrapping key.

    Raises:
        NoKeychain: There is none that keeps secrets.
    """
    slot_id = _new_slot_id()
    account = f"{root.kb_id}/{slot_id}"
    key = os.urandom(KEY_BYTES)
    keychain.store_key(KEYCHAIN_SERVICE, account, key)
    return _wrap(root, SlotKind.KEYCHAIN, slot_id, {"service": KEYCHAIN_SERVICE, "account": account}, key)


def forget_keychain_slots(keyslots: KeySlots) -> None:
    """Delete the keychain's keys of slots that will never be written; a keychain that refuses is left alone."""
    for slot in keyslots.slots:
        if slot.kind is SlotKind.KEYCHAIN:
            with contextlib.suppress(NoKeychain):  # on the way out of another error, which matters more
                keychain.delete_key(*_keychain_of(slot))


def load_keyslots(folder: Path) -> KeySlots:
    """Read the key slots of a knowledge base.

    Raises:
        KnowledgeBaseNotFound: The folder has none.
        StorageFailed: It is there and cannot be read.
        KnowledgeBaseDamaged, KnowledgeBaseTooNew: As `parse_keyslots`.
    """
    try:
        with (folder / KEYSLOTS_FILE).open("rb") as stream:
            data = stream.read(MAX_KEYSLOTS_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise KnowledgeBaseNotFound(f"{folder} is not a knowledge base") from None
    except OSError as error:
        raise StorageFailed(f"{folder / KEYSLOTS_FILE} cannot be read ({error.strerror})") from None
    return parse_keyslots(data)


def save_keyslots(folder: Path, keyslots: KeySlots) -> None:
    """Write the key slots of a knowledge base, atomically and readable by its owner only."""
    private_file.replace(folder / KEYSLOTS_FILE, keyslots.encode())


def parse_keyslots(data: bytes) -> KeySlots:
    """Parse the bytes of `keyslots.json`.

    Raises:
        KnowledgeBaseDamaged: They break the format.
        KnowledgeBaseTooNew: They name another version of it.
    """
    top = Fields(
        parse_object(data, max_bytes=MAX_KEYSLOTS_BYTES, error=KnowledgeBaseDamaged),
        where=KEYSLOTS_FILE,
        error=KnowledgeBaseDamaged,
    )
    found = top.name("format")
    if found != _FORMAT:
        if found.startswith(KEYSLOTS_FORMAT_PREFIX):
            raise KnowledgeBaseTooNew(f"the key slots have format {found}; this version reads {_FORMAT}")
        raise KnowledgeBaseDamaged(f"{KEYSLOTS_FILE} is not a key slot file")
    kb_id = top.digest("kb", KB_ID_BYTES)
    slots = tuple(_parse_slot(item, index) for index, item in enumerate(top.array("slots", most=MAX_SLOTS)))
    top.finish()
    if len({slot.slot_id for slot in slots}) != len(slots):
        raise KnowledgeBaseDamaged(f"{KEYSLOTS_FILE} has two slots with one id")
    return KeySlots(kb_id, slots)


def _parse_slot(item: object, index: int) -> Slot:
    where = f"{KEYSLOTS_FILE}.slots[{index}]"
    fields = Fields(item, where=where, error=KnowledgeBaseDamaged)
    slot_id = fields.digest("id", SLOT_ID_BYTES)
    kind = SlotKind(fields.choice("kind", tuple(SlotKind)))
    params = fields.take("params")
    nonce = fields.base64("nonce")
    wrapped = fields.base64("wrapped")
    fields.finish()
    if not isinstance(params, dict) or len(nonce) != NONCE_BYTES or len(wrapped) != KEY_BYTES + TAG_BYTES:
        raise KnowledgeBaseDamaged(f"{where} has a member of the wrong size")
    slot = Slot(slot_id, kind, params, nonce, wrapped)
    _argon2_of(slot) if kind is SlotKind.PASSPHRASE else _keychain_of(slot)
    return slot


def _argon2_of(slot: Slot) -> tuple[Argon2Parameters, bytes]:
    params = Fields(slot.params, where=f"slot {slot.slot_id}", error=KnowledgeBaseDamaged)
    params.choice("algorithm", ("argon2id",))
    params.version("version", ARGON2_VERSION)
    parameters = Argon2Parameters(
        memory_kib=params.integer("memory_kib", most=ARGON2_MAX_MEMORY_KIB),
        time_cost=params.integer("time_cost"),
        parallelism=params.integer("parallelism"),
    )
    salt = params.base64("salt")
    params.finish()
    if len(salt) != SALT_BYTES:
        raise KnowledgeBaseDamaged(f"slot {slot.slot_id} has a salt of {len(salt)} bytes")
    return parameters, salt


def _keychain_of(slot: Slot) -> tuple[str, str]:
    params = Fields(slot.params, where=f"slot {slot.slot_id}", error=KnowledgeBaseDamaged)
    service, account = params.name("service"), params.name("account")
    params.finish()
    return service, account


def _new_slot_id() -> str:
    return os.urandom(SLOT_ID_BYTES).hex()


def _associated_data(kb_id: str, slot_id: str, kind: SlotKind, params: JsonObject) -> bytes:
    return encode_canonical({"format": _FORMAT, "id": slot_id, "kb": kb_id, "kind": kind.value, "params": params})


def _wrap(root: RootKey, kind: SlotKind, slot_id: str, params: JsonObject, key: bytes) -> Slot:
    nonce = os.urandom(NONCE_BYTES)  # random is safe: each wrapping key seals once
    aad = _associated_data(root.kb_id, slot_id, kind, params)
    return Slot(slot_id, kind, params, nonce, AESGCM(key).encrypt(nonce, root.secret, aad))


def _unwrap(kb_id: str, slot: Slot, key: bytes) -> RootKey | None:
    aad = _associated_data(kb_id, slot.slot_id, slot.kind, slot.params)
    try:
        return RootKey(kb_id, AESGCM(key).decrypt(slot.nonce, slot.wrapped, aad))
    except InvalidTag:
        return None
