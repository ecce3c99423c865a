"""Binary HTTP responses, as the device reads them while they stream."""

from __future__ import annotations

from target import Target, failures, pieces, published, streamed

from mitai_crypto.bhttp import ResponseDecoder, decode_response
from mitai_crypto.errors import BhttpError


def read(data: bytes) -> None:
    """Read a response in pieces; it is accepted if and only if it is in one."""
    decoder = ResponseDecoder()
    try:
        for piece in pieces(data):
            decoder.feed(piece)
        decoder.close()
    except BhttpError as refused:
        decode_response(data[1:])
        raise AssertionError("refused in pieces, accepted in one") from refused
    decode_response(data[1:])


def seeds() -> list[bytes]:
    """Return published responses and refused ones."""
    fields = ("response_known_length", "response_indeterminate_length")
    return streamed(published("rfc9292", *fields) + failures("bhttp_response"))


TARGET = Target(read, BhttpError, seeds, factor=150, max_bytes=8192)
