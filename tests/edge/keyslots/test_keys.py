from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pytest
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
from mitai.formats import KEYSLOTS_FILE
from mitai.keyslots import keychain, keys
from mitai.keyslots.passphrase import derive_key
from support.knowledge_bases import CHEAP, PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOT = keys.RootKey("0123456789abcdef0123456789abcdef", bytes(range(32)))


@pytest.fixture(scope="module")
def keyslots() -> keys.KeySlots:
    return keys.KeySlots(ROOT.kb_id, (keys.passphrase_slot(ROOT, PASSPHRASE, CHEAP),))


@pytest.fixture
def kept_keys(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], bytes]:
    """The keychain of this test."""
    kept: dict[tuple[str, str], bytes] = {}

    def load(service: str, account: str) -> bytes:
        if (service, account) not in kept:
            raise NoKeychain("not here")
        return kept[service, account]

    monkeypatch.setattr(keychain, "store_key", lambda service, account, key: kept.update({(service, account): key}))
    monkeypatch.setattr(keychain, "load_key", load)
    monkeypatch.setattr(keychain, "delete_key", lambda service, account: kept.pop((service, account)))
    return kept


def test_the_file_opens_again_with_the_passphrase(tmp_path: Path, keyslots: keys.KeySlots) -> None:
    keys.save_keyslots(tmp_path, keyslots)
    read = keys.load_keyslots(tmp_path)
    assert read == keyslots
    assert read.open_with_passphrase(PASSPHRASE) == ROOT
    assert stat.S_IMODE((tmp_path / "keyslots.json").stat().st_mode) == 0o600


def test_a_passphrase_opens_however_the_input_method_writes_its_space(keyslots: keys.KeySlots) -> None:
    assert keyslots.open_with_passphrase(PASSPHRASE.replace(" ", "\u3000")) == ROOT


@pytest.mark.parametrize("wrong", ["正确的密码 correct horse", PASSPHRASE + " ", "x"])
def test_a_wrong_passphrase_opens_nothing(keyslots: keys.KeySlots, wrong: str) -> None:
    with pytest.raises(WrongPassphrase) as caught:
        keyslots.open_with_passphrase(wrong)
    assert caught.value.hint


def test_a_slot_can_be_opened_from_the_specification_alone(keyslots: keys.KeySlots) -> None:
    top = json.loads(keyslots.encode())
    slot = top["slots"][0]
    params = slot["params"]
    key = derive_key(PASSPHRASE.encode(), base64.b64decode(params["salt"]), CHEAP)
    named = {"format": top["format"], "id": slot["id"], "kb": top["kb"], "kind": slot["kind"], "params": params}
    aad = json.dumps(named, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    secret = AESGCM(key).decrypt(base64.b64decode(slot["nonce"]), base64.b64decode(slot["wrapped"]), aad)
    assert secret == ROOT.secret


def test_keys_are_derived_as_specified_and_differ() -> None:
    info = b"mitai/kb/database/v1\0" + bytes.fromhex(ROOT.kb_id)
    assert ROOT.database_key() == HKDF(SHA256(), 32, None, info).derive(ROOT.secret)
    other = keys.RootKey("f" * 32, ROOT.secret)
    derived = {key for root in (ROOT, other) for key in (root.database_key(), root.content_hash_key())}
    assert len(derived) == 4


def test_no_secret_shows_in_a_repr(keyslots: keys.KeySlots) -> None:
    shown = repr(ROOT) + repr(keyslots)
    wrapped = keyslots.slots[0].wrapped
    for secret in (ROOT.secret, wrapped):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def _set(path: str, value: object) -> Callable[[dict[str, object]], None]:
    def change(top: dict[str, object]) -> None:
        *parents, last = path.split(".")
        at: object = top
        for name in parents:
            at = at[int(name)] if isinstance(at, list) else at[name]  # type: ignore[index] # walks JSON
        at[last] = value  # type: ignore[index] # walks JSON

    return change


SLOT = "slots.0"
DAMAGE = {
    "another kb id": _set("kb", "f" * 32),
    "another slot id": _set(f"{SLOT}.id", "f" * 16),
    "another nonce": _set(f"{SLOT}.nonce", base64.b64encode(bytes(12)).decode()),
    "another salt": _set(f"{SLOT}.params.salt", base64.b64encode(bytes(16)).decode()),
    "more passes": _set(f"{SLOT}.params.time_cost", 4),
    "fewer lanes": _set(f"{SLOT}.params.parallelism", 1),
}
MALFORMED = {
    "unknown member": _set("extra", 1),
    "unknown slot member": _set(f"{SLOT}.extra", 1),
    "unknown parameter": _set(f"{SLOT}.params.extra", 1),
    "no slots": _set("slots", []),
    "kb id of the wrong size": _set("kb", "ab"),
    "unknown kind": _set(f"{SLOT}.kind", "password"),
    "wrapped key too short": _set(f"{SLOT}.wrapped", base64.b64encode(bytes(47)).decode()),
    "nonce too long": _set(f"{SLOT}.nonce", base64.b64encode(bytes(13)).decode()),
    "salt too short": _set(f"{SLOT}.params.salt", base64.b64encode(bytes(8)).decode()),
    "weak memory": _set(f"{SLOT}.params.memory_kib", 8),
    "memory of the whole machine": _set(f"{SLOT}.params.memory_kib", 1 << 31),
    "endless passes": _set(f"{SLOT}.params.time_cost", 1 << 31),
    "another algorithm": _set(f"{SLOT}.params.algorithm", "argon2i"),
    "another argon2 version": _set(f"{SLOT}.params.version", 16),
    "parameters that are a list": _set(f"{SLOT}.params", []),
    "another format": _set("format", "luks/2"),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_slot_opens_only_as_it_was_written(
    keyslots: keys.KeySlots, change: Callable[[dict[str, object]], None]
) -> None:
    top = json.loads(keyslots.encode())
    change(top)
    with pytest.raises(WrongPassphrase):
        keys.parse_keyslots(json.dumps(top).encode()).open_with_passphrase(PASSPHRASE)


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_damage(keyslots: keys.KeySlots, change: Callable[[dict[str, object]], None]) -> None:
    top = json.loads(keyslots.encode())
    change(top)
    with pytest.raises(KnowledgeBaseDamaged):
        keys.parse_keyslots(json.dumps(top).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"format":1,"format":2}', b" " * 70_000])
def test_what_is_no_key_slot_file_is_damage(data: bytes) -> None:
    with pytest.raises(KnowledgeBaseDamaged):
        keys.parse_keyslots(data)


def test_two_slots_with_one_id_are_damage(keyslots: keys.KeySlots) -> None:
    top = json.loads(keyslots.encode())
    top["slots"] *= 2
    with pytest.raises(KnowledgeBaseDamaged, match="two slots"):
        keys.parse_keyslots(json.dumps(top).encode())


def test_a_newer_format_is_named_as_such(keyslots: keys.KeySlots) -> None:
    top = json.loads(keyslots.encode())
    top["format"] = "mitai-keyslots/2"
    with pytest.raises(KnowledgeBaseTooNew, match="mitai-keyslots/2"):
        keys.parse_keyslots(json.dumps(top).encode())


def test_a_folder_without_slots_is_no_knowledge_base(tmp_path: Path) -> None:
    with pytest.raises(KnowledgeBaseNotFound):
        keys.load_keyslots(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(KnowledgeBaseNotFound):
        keys.load_keyslots(tmp_path / "file")


def test_the_keychain_slot_opens_and_is_bound_to_this_knowledge_base(
    kept_keys: dict[tuple[str, str], bytes],
) -> None:
    slots = keys.KeySlots(ROOT.kb_id, (keys.keychain_slot(ROOT),))
    assert keys.parse_keyslots(slots.encode()).open_with_keychain() == ROOT
    (account,) = kept_keys
    assert account == ("mitai", f"{ROOT.kb_id}/{slots.slots[0].slot_id}")
    assert ROOT.secret not in kept_keys.values()
    kept_keys[account] = bytes(32)
    with pytest.raises(WrongPassphrase, match="keychain"):
        slots.open_with_keychain()


def test_a_missing_keychain_slot_or_key_says_so(
    keyslots: keys.KeySlots, kept_keys: dict[tuple[str, str], bytes]
) -> None:
    with pytest.raises(NoKeychain, match="no keychain slot"):
        keyslots.open_with_keychain()
    slots = keys.KeySlots(ROOT.kb_id, (keys.keychain_slot(ROOT), keys.keychain_slot(ROOT)))
    kept_keys.pop(next(iter(kept_keys)))
    assert slots.open_with_keychain() == ROOT  # the second slot is this machine's
    keys.forget_keychain_slots(keys.KeySlots(ROOT.kb_id, slots.slots[1:]))
    with pytest.raises(NoKeychain, match="not here"):
        slots.open_with_keychain()


def test_key_slots_that_cannot_be_read_are_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / KEYSLOTS_FILE).mkdir()
    with pytest.raises(StorageFailed):
        keys.load_keyslots(tmp_path)
