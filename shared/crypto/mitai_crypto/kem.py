"""The two key encapsulation mechanisms: DHKEM(X25519, HKDF-SHA256) and MLKEM768-X25519.

Keys are parsed once and kept parsed. Every failure is one `HpkeError` with one message, without the cause
chained to it: a peer learns nothing from it, and neither does a log.
"""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from enum import IntEnum
from typing import ClassVar, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mitai_crypto.errors import HpkeError
from mitai_crypto.hkdf import labeled_expand, labeled_extract
from mitai_crypto.labels import HYBRID_LABEL

INVALID: Final = "a key, an encapsulation or a ciphertext is not valid"
PRIVATE_KEY_BYTES: Final = 32
_MLKEM_PUBLIC_BYTES: Final = 1184
_MLKEM_SEED_BYTES: Final = 64
_MLKEM_CIPHERTEXT_BYTES: Final = 1088
_X25519_BYTES: Final = 32


class Kem(IntEnum):
    """A KEM by its number in IANA's HPKE registry."""

    X25519 = 0x0020
    MLKEM768_X25519 = 0x647A

    @property
    def public_key_bytes(self) -> int:
        """The length Npk of a public key."""
        return _X25519_BYTES if self is Kem.X25519 else _MLKEM_PUBLIC_BYTES + _X25519_BYTES

    @property
    def enc_bytes(self) -> int:
        """The length Nenc of an encapsulated secret."""
        return _X25519_BYTES if self is Kem.X25519 else _MLKEM_CIPHERTEXT_BYTES + _X25519_BYTES


class PublicKey(ABC):
    """A recipient's public key.

    Attributes:
        kem: The KEM the key belongs to.
        public_bytes: The key as it goes over the wire.
    """

    __slots__ = ("public_bytes",)
    kem: ClassVar[Kem]
    public_bytes: bytes

    def __repr__(self) -> str:
        return f"<PublicKey {self.kem.name}>"

    @abstractmethod
    def encapsulate(self) -> tuple[bytes, bytes]:
        """Make a fresh shared secret.

        Returns:
            `enc`, which only the private key opens, and the 32-byte secret.

        Raises:
            HpkeError: If the key is a low-order point.
        """


class PrivateKey(ABC):
    """A recipient's private key; its `repr` shows the KEM only, and there is no way to get the secret out.

    Attributes:
        kem: The KEM the key belongs to.
        public_bytes: The public key.
    """

    __slots__ = ("public_bytes",)
    kem: ClassVar[Kem]
    public_bytes: bytes

    def __repr__(self) -> str:
        return f"<PrivateKey {self.kem.name}>"

    @abstractmethod
    def decapsulate(self, enc: bytes) -> bytes:
        """Return the 32-byte secret inside `enc`.

        A wrong ML-KEM ciphertext gives another secret, not an error (implicit rejection).

        Raises:
            HpkeError: If `enc` has the wrong length or holds a low-order point.
        """


def generate_private_key(kem: Kem) -> PrivateKey:
    """Make a private key from 32 random bytes."""
    return load_private_key(kem, os.urandom(PRIVATE_KEY_BYTES))


def load_private_key(kem: Kem, raw: bytes) -> PrivateKey:
    """Make the private key that is given by `raw`: the X25519 scalar, or the hybrid's seed.

    Any 32 random bytes are a key of either KEM: processes that must share one agree on these bytes.

    Raises:
        HpkeError: If `raw` is not 32 bytes.
    """
    if len(raw) != PRIVATE_KEY_BYTES:
        raise HpkeError(INVALID)
    return _X25519Private(raw) if kem is Kem.X25519 else _HybridPrivate(raw)


def load_public_key(kem: Kem, raw: bytes) -> PublicKey:
    """Parse and check a public key.

    Raises:
        HpkeError: If `raw` has the wrong length or fails ML-KEM's modulus check (FIPS 203 §7.2).
    """
    if len(raw) != kem.public_key_bytes:
        raise HpkeError(INVALID)
    return _X25519Public(raw) if kem is Kem.X25519 else _HybridPublic(raw)


def _no_mlkem() -> HpkeError:
    return HpkeError(
        "this build of the cryptography package has no ML-KEM",
        hint="Install cryptography ≥ 50 from its wheel, or name the suite x25519 in the trust policy.",
    )


def _exchange(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    """Run X25519; the backend refuses an all-zero result (RFC 9180 §7.1.4)."""
    try:
        return private.exchange(public)
    except ValueError:
        raise HpkeError(INVALID) from None


_DHKEM_SUITE: Final = b"KEM" + Kem.X25519.to_bytes(2, "big")


def _dhkem_secret(dh: bytes, enc: bytes, public_key: bytes) -> bytes:
    """Derive DHKEM's secret from the Diffie-Hellman result (ExtractAndExpand of RFC 9180 §4.1)."""
    prk = labeled_extract(_DHKEM_SUITE, b"", b"eae_prk", dh)
    return labeled_expand(_DHKEM_SUITE, prk, b"shared_secret", enc + public_key, 32)


class _X25519Public(PublicKey):
    __slots__ = ("_key",)
    kem = Kem.X25519

    def __init__(self, raw: bytes) -> None:
        self.public_bytes = raw
        self._key = X25519PublicKey.from_public_bytes(raw)

    def encapsulate(self) -> tuple[bytes, bytes]:
        return self._encapsulate(X25519PrivateKey.generate())

    def _encapsulate(self, ephemeral: X25519PrivateKey) -> tuple[bytes, bytes]:
        """Encapsulate with a given ephemeral key, which must never be used twice: for published vectors."""
        enc = ephemeral.public_key().public_bytes_raw()
        return enc, _dhkem_secret(_exchange(ephemeral, self._key), enc, self.public_bytes)


class _X25519Private(PrivateKey):
    __slots__ = ("_key",)
    kem = Kem.X25519

    def __init__(self, raw: bytes) -> None:
        self._key = X25519PrivateKey.from_private_bytes(raw)
        self.public_bytes = self._key.public_key().public_bytes_raw()

    def decapsulate(self, enc: bytes) -> bytes:
        if len(enc) != _X25519_BYTES:
            raise HpkeError(INVALID)
        dh = _exchange(self._key, X25519PublicKey.from_public_bytes(enc))
        return _dhkem_secret(dh, enc, self.public_bytes)


def _hybrid_secret(ss_mlkem: bytes, ss_x25519: bytes, ct_x25519: bytes, pk_x25519: bytes) -> bytes:
    """Combine both secrets; the ML-KEM ciphertext needs no place in the hash (X-Wing, IND-CCA proof)."""
    return hashlib.sha3_256(ss_mlkem + ss_x25519 + ct_x25519 + pk_x25519 + HYBRID_LABEL).digest()


class _HybridPublic(PublicKey):
    __slots__ = ("_mlkem", "_x25519", "_x25519_bytes")
    kem = Kem.MLKEM768_X25519

    def __init__(self, raw: bytes) -> None:
        self.public_bytes = raw
        self._x25519_bytes = raw[_MLKEM_PUBLIC_BYTES:]
        self._x25519 = X25519PublicKey.from_public_bytes(self._x25519_bytes)
        try:
            self._mlkem = MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM_PUBLIC_BYTES])
        except ValueError:
            raise HpkeError(INVALID) from None
        except UnsupportedAlgorithm:
            raise _no_mlkem() from None

    def encapsulate(self) -> tuple[bytes, bytes]:
        ss_mlkem, ct_mlkem = self._mlkem.encapsulate()
        ephemeral = X25519PrivateKey.generate()
        ct_x25519 = ephemeral.public_key().public_bytes_raw()
        ss_x25519 = _exchange(ephemeral, self._x25519)
        return ct_mlkem + ct_x25519, _hybrid_secret(ss_mlkem, ss_x25519, ct_x25519, self._x25519_bytes)


class _HybridPrivate(PrivateKey):
    __slots__ = ("_mlkem", "_x25519")
    kem = Kem.MLKEM768_X25519

    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(_MLKEM_SEED_BYTES + _X25519_BYTES)
        self._x25519 = X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED_BYTES:])
        try:
            self._mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED_BYTES])
        except UnsupportedAlgorithm:
            raise _no_mlkem() from None
        self.public_bytes = self._mlkem.public_key().public_bytes_raw() + self._x25519.public_key().public_bytes_raw()

    def decapsulate(self, enc: bytes) -> bytes:
        if len(enc) != Kem.MLKEM768_X25519.enc_bytes:
            raise HpkeError(INVALID)
        ct_x25519 = enc[_MLKEM_CIPHERTEXT_BYTES:]
        ss_mlkem = self._mlkem.decapsulate(enc[:_MLKEM_CIPHERTEXT_BYTES])
        ss_x25519 = _exchange(self._x25519, X25519PublicKey.from_public_bytes(ct_x25519))
        return _hybrid_secret(ss_mlkem, ss_x25519, ct_x25519, self.public_bytes[_MLKEM_PUBLIC_BYTES:])
