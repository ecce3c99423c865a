"""HKDF-SHA256 (RFC 5869) and its labelled form (RFC 9180 §4)."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from mitai_crypto.labels import HPKE_VERSION_LABEL

_SHA256 = SHA256()


def extract(salt: bytes, key_material: bytes) -> bytes:
    """Return the 32-byte pseudorandom key of `key_material`; an empty salt means 32 zero bytes."""
    return HKDF.extract(_SHA256, salt, key_material)


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    """Return `length` ≤ 8160 bytes derived from `prk` for the purpose `info`.

    Raises:
        ValueError: If `length` is too large.
    """
    return HKDFExpand(_SHA256, length, info).derive(prk)


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, key_material: bytes) -> bytes:
    """Extract under a label that names the protocol version, the suite and the purpose."""
    return extract(salt, HPKE_VERSION_LABEL + suite_id + label + key_material)


def labeled_expand(suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """Expand under a label that also names the length, so that no output is a prefix of another."""
    return expand(prk, length.to_bytes(2, "big") + HPKE_VERSION_LABEL + suite_id + label + info, length)
