"""QUIC's variable-length integers (RFC 9000 §16), which BHTTP and chunked OHTTP use for lengths."""

from __future__ import annotations

from typing import Final

from mitai_crypto.errors import ChannelError

MAX_VARINT: Final = 2**62 - 1
_ONE_BYTE: Final = 2**6  # the first value that needs more
_TWO_BYTES: Final = 2**14
_FOUR_BYTES: Final = 2**30
_SHORT: Final = [bytes([value]) for value in range(_ONE_BYTE)]  # most lengths of names and values
_MASKS: Final = {2: _TWO_BYTES - 1, 4: _FOUR_BYTES - 1, 8: MAX_VARINT}


def encode_varint(value: int) -> bytes:
    """Return the shortest encoding of `value`.

    Raises:
        ChannelError: If `value` is negative or over 2^62 − 1.
    """
    if 0 <= value < _ONE_BYTE:
        return _SHORT[value]
    if 0 <= value < _TWO_BYTES:
        return (0x4000 | value).to_bytes(2, "big")
    if 0 <= value < _FOUR_BYTES:
        return (0x8000_0000 | value).to_bytes(4, "big")
    if 0 <= value <= MAX_VARINT:
        return (0xC000_0000_0000_0000 | value).to_bytes(8, "big")
    raise ChannelError("a variable-length integer holds 0 to 2^62 - 1")


def read_varint(data: bytes, offset: int) -> tuple[int, int] | None:
    """Read the integer that starts at `offset`; longer encodings than necessary are accepted.

    Returns:
        The value and the offset behind it, or None where `data` ends first.
    """
    if offset >= len(data):
        return None
    first = data[offset]
    if first < _ONE_BYTE:  # most lengths of names and values
        return first, offset + 1
    size = 1 << (first >> 6)
    end = offset + size
    if end > len(data):
        return None
    return int.from_bytes(data[offset:end], "big") & _MASKS[size], end
