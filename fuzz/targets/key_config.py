"""Key configurations."""

from __future__ import annotations

from target import Target, failures, published

from mitai_crypto.errors import KeyConfigError
from mitai_crypto.key_config import parse_key_config


def read(data: bytes) -> None:
    """Read a configuration; there is one way to write it."""
    assert parse_key_config(data).encode() == data


def seeds() -> list[bytes]:
    """Return a published one and refused ones."""
    return published("chunked_ohttp", "key_config") + failures("key_config")


TARGET = Target(read, KeyConfigError, seeds, factor=64, max_bytes=4096)
