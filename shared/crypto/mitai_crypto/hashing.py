"""How do several values go into one hash so that no other values give the same bytes?"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def length_prefixed(data: bytes) -> bytes:
    """Put the length (8 bytes, big-endian) in front, so that what follows cannot be mistaken for it."""
    return len(data).to_bytes(8, "big") + data


def count(number: int) -> bytes:
    """Encode a number of items or bytes (8 bytes, big-endian)."""
    return number.to_bytes(8, "big")


def field_lines(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Encode header fields in order: how many, then each name and value with its length."""
    parts = [len(fields).to_bytes(8, "big")]
    for name, value in fields:
        parts += (len(name).to_bytes(8, "big"), name, len(value).to_bytes(8, "big"), value)
    return b"".join(parts)


def labelled(label: bytes) -> hashlib._Hash:
    """Start a SHA-256 that belongs to one purpose: `label ‖ 0x00`."""
    return hashlib.sha256(label + b"\0")
