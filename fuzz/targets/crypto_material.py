"""The keys and claims that an enclave's evidence binds."""

from __future__ import annotations

from target import Target, bundle_parts

from mitai_crypto.crypto_material import parse_crypto_material
from mitai_crypto.errors import EvidenceError


def read(data: bytes) -> None:
    """Read material; there is one way to write it."""
    assert parse_crypto_material(data).encode() == data


def seeds() -> list[bytes]:
    """Return the material of every vector."""
    return bundle_parts("crypto_material")


TARGET = Target(read, EvidenceError, seeds, factor=200, max_bytes=16_384)
