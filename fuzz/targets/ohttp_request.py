"""Sealed requests, as the enclave opens them."""

from __future__ import annotations

from target import Target, failures, pieces, published, streamed

from mitai_crypto.errors import ChannelError
from mitai_crypto.ohttp import RequestOpener
from support.sealed_exchange import FixedExchange

EXCHANGE = FixedExchange("a")
KEYS = {EXCHANGE.config.key_id: (EXCHANGE.config, EXCHANGE.gateway_key)}


def read(data: bytes) -> None:
    """Open a request."""
    opener = RequestOpener(KEYS.get)
    for piece in pieces(data):
        opener.feed(piece)
    opener.close()


def seeds() -> list[bytes]:
    """Return one that opens, and all that must not."""
    return streamed([EXCHANGE.seal().message, *failures("request"), *published("chunked_ohttp", "key_config")])


TARGET = Target(read, ChannelError, seeds, factor=16)
