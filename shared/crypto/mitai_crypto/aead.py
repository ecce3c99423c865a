"""The AEADs of HPKE (RFC 9180 §7.3) as one small interface."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from mitai_crypto.labels import AEAD_NONCE_BYTES


class Cipher(Protocol):
    """An AEAD with its key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return ciphertext ‖ 16-byte tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the plaintext, or raise `cryptography.exceptions.InvalidTag`."""
        ...


class Aead(IntEnum):
    """An AEAD by its number in IANA's HPKE registry."""

    AES_128_GCM = 0x0001
    AES_256_GCM = 0x0002
    CHACHA20_POLY1305 = 0x0003

    @property
    def key_bytes(self) -> int:
        """The key length Nk."""
        return 16 if self is Aead.AES_128_GCM else 32

    @property
    def response_nonce_bytes(self) -> int:
        """The length max(Nk, Nn) of an OHTTP response nonce (RFC 9458 §4.4)."""
        return max(self.key_bytes, AEAD_NONCE_BYTES)

    def cipher(self, key: bytes) -> Cipher:
        """Return this AEAD under `key`, which is `key_bytes` long."""
        return ChaCha20Poly1305(key) if self is Aead.CHACHA20_POLY1305 else AESGCM(key)
