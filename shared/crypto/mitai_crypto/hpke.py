"""HPKE (RFC 9180) in base mode: set-up, seal and open with a sequence number, export.

    enc, sender = setup_sender(DEFAULT_SUITE, public_key, b"what this is for")
    recipient = setup_recipient(DEFAULT_SUITE, private_key, enc, b"what this is for")
    assert recipient.open(sender.seal(b"hello")) == b"hello"
    assert sender.export(b"label", 32) == recipient.export(b"label", 32)

`cryptography` has single-shot HPKE without an export; chunked OHTTP needs the context. The primitives stay
`cryptography`'s: this module only orders them. Spec: `docs/spec/hpke.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Final

from cryptography.exceptions import InvalidTag

from mitai_crypto.aead import Aead
from mitai_crypto.errors import HpkeError
from mitai_crypto.hkdf import labeled_expand, labeled_extract
from mitai_crypto.kem import (
    INVALID,
    Kem,
    PrivateKey,
    PublicKey,
    generate_private_key,
    load_private_key,
    load_public_key,
)
from mitai_crypto.labels import AEAD_NONCE_BYTES, MAX_SEQUENCE

__all__ = [
    "DEFAULT_SUITE",
    "Aead",
    "Kdf",
    "Kem",
    "PrivateKey",
    "PublicKey",
    "RecipientContext",
    "SenderContext",
    "Suite",
    "generate_private_key",
    "load_private_key",
    "load_public_key",
    "setup_recipient",
    "setup_sender",
]

_MODE_BASE: Final = b"\x00"


class Kdf(IntEnum):
    """A KDF by its number in IANA's HPKE registry."""

    HKDF_SHA256 = 0x0001


@dataclass(frozen=True)
class Suite:
    """The three algorithms of an HPKE context."""

    kem: Kem
    kdf: Kdf
    aead: Aead

    @cached_property
    def suite_id(self) -> bytes:
        """The octets that bind every derivation to this suite (RFC 9180 §5.1)."""
        return b"HPKE" + b"".join(part.to_bytes(2, "big") for part in (self.kem, self.kdf, self.aead))

    @cached_property
    def schedule_prefix(self) -> bytes:
        """The part of the key schedule's context that never changes: the mode and the empty psk_id."""
        return _MODE_BASE + labeled_extract(self.suite_id, b"", b"psk_id_hash", b"")


DEFAULT_SUITE: Final = Suite(Kem.MLKEM768_X25519, Kdf.HKDF_SHA256, Aead.AES_256_GCM)


class _Context:
    """What both sides of an exchange derive (RFC 9180 §5.1).

    Attributes:
        suite: The algorithms in use.
    """

    __slots__ = ("_base_nonce", "_cipher", "_exporter_secret", "_sequence", "suite")

    def __init__(self, suite: Suite, shared_secret: bytes, info: bytes) -> None:
        suite_id = suite.suite_id
        # The names are RFC 9180's: key_schedule_context and secret.
        context = suite.schedule_prefix + labeled_extract(suite_id, b"", b"info_hash", info)
        secret = labeled_extract(suite_id, shared_secret, b"secret", b"")
        key = labeled_expand(suite_id, secret, b"key", context, suite.aead.key_bytes)
        nonce = labeled_expand(suite_id, secret, b"base_nonce", context, AEAD_NONCE_BYTES)
        self.suite: Final = suite
        self._cipher = suite.aead.cipher(key)
        self._base_nonce = int.from_bytes(nonce, "big")
        self._exporter_secret = labeled_expand(suite_id, secret, b"exp", context, 32)
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.suite.kem.name} {self.suite.aead.name}>"

    def export(self, context: bytes, length: int) -> bytes:
        """Derive `length` ≤ 8160 secret bytes that only the two sides know, for the purpose `context`.

        Raises:
            HpkeError: If `length` is negative or too large.
        """
        try:
            return labeled_expand(self.suite.suite_id, self._exporter_secret, b"sec", context, length)
        except (ValueError, OverflowError):
            raise HpkeError("an export has between 0 and 8160 bytes") from None


class SenderContext(_Context):
    """The side that seals; message after message, each under the next sequence number."""

    __slots__ = ()

    def seal(self, plaintext: bytes, aad: bytes = b"") -> bytes:
        """Return ciphertext ‖ 16-byte tag of the next message.

        Raises:
            HpkeError: If 2^96 − 1 messages were sealed; the sequence number never wraps.
        """
        sequence = self._sequence
        if sequence >= MAX_SEQUENCE:
            raise HpkeError("this context has sealed its last message")
        self._sequence = sequence + 1  # counted first: an interrupted call must not lead to a second use
        nonce = (self._base_nonce ^ sequence).to_bytes(AEAD_NONCE_BYTES, "big")
        return self._cipher.encrypt(nonce, plaintext, aad)


class RecipientContext(_Context):
    """The side that opens; messages open in the order in which they were sealed and in no other."""

    __slots__ = ()

    def open(self, ciphertext: bytes, aad: bytes = b"") -> bytes:
        """Return the plaintext of the next message; a failure leaves the context as it was.

        Raises:
            HpkeError: If the ciphertext is not the next message, or 2^96 − 1 messages were opened.
        """
        sequence = self._sequence
        if sequence >= MAX_SEQUENCE:
            raise HpkeError("this context has opened its last message")
        nonce = (self._base_nonce ^ sequence).to_bytes(AEAD_NONCE_BYTES, "big")
        try:
            plaintext = self._cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise HpkeError(INVALID) from None
        self._sequence = sequence + 1
        return plaintext


def setup_sender(suite: Suite, public_key: bytes | PublicKey, info: bytes) -> tuple[bytes, SenderContext]:
    """Start an exchange with the holder of `public_key`, bound to `info`.

    Args:
        suite: The algorithms; its KEM is the key's.
        public_key: The recipient's key; one that was parsed before saves parsing it again.
        info: What the exchange is for; both sides must give the same bytes.

    Returns:
        `enc`, which the recipient needs, and the context that seals.

    Raises:
        HpkeError: If the key is not a valid key of the suite's KEM.
    """
    key = public_key if isinstance(public_key, PublicKey) else load_public_key(suite.kem, public_key)
    if key.kem is not suite.kem:
        raise HpkeError(INVALID)
    enc, shared_secret = key.encapsulate()
    return enc, SenderContext(suite, shared_secret, info)


def setup_recipient(suite: Suite, private_key: PrivateKey, enc: bytes, info: bytes) -> RecipientContext:
    """Join the exchange that `enc` started.

    Raises:
        HpkeError: If `enc` is not an encapsulation of the suite's KEM. A wrong `enc` of the right shape may
            show only when the first message does not open.
    """
    if private_key.kem is not suite.kem:
        raise HpkeError(INVALID)
    return RecipientContext(suite, private_key.decapsulate(enc), info)
