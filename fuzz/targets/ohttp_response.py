"""Sealed responses, as the device opens them."""

from __future__ import annotations

from target import Target, failures, pieces, streamed

from mitai_crypto.errors import ChannelError
from support.sealed_exchange import FixedExchange

EXCHANGE = FixedExchange("a")


def read(data: bytes) -> None:
    """Open a response."""
    opener = EXCHANGE.seal().opener
    for piece in pieces(data):
        opener.feed(piece)
    opener.close()


def seeds() -> list[bytes]:
    """Return one that opens, and all that must not."""
    return streamed([b"".join(EXCHANGE.response_frames()), *failures("response")])


TARGET = Target(read, ChannelError, seeds, factor=16)
