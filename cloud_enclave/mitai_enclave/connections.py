"""Which connection to the engine carries the next exchange? One that is kept and surely free, or a new one.

What one request left on a connection must never reach another: only a connection on which both sides have said all
is kept (`Exchange.abort`), and it is closed with the first byte or event that comes while nobody uses it.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final

from mitai_enclave.upstream import Exchange, connect, encode_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_enclave.address import EngineAddress

IDLE_SECONDS: Final = 1.0  # engines keep an idle connection for longer (uvicorn for 5 s), so they do not close first
MAX_IDLE: Final = 64


class Connections:
    """Connections to the engine, kept between exchanges.

    Args:
        address: Where the engine listens.
    """

    def __init__(self, address: EngineAddress) -> None:
        self._address = address
        self._idle: dict[asyncio.Transport, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def open_exchange(
        self, method: bytes, path: bytes, body: bytes = b"", *, accept: bytes = b"application/json", silence: float
    ) -> Exchange:
        """Do as the function `open_exchange` does, over a kept connection where there is one.

        Raises:
            EngineUnreachable: There is no connection, so nothing was executed.
        """
        transport = self._take() or await connect(self._address, silence)
        exchange = Exchange(silence)
        exchange.begin(transport, encode_request(method, path, body, accept), self._keep)
        return exchange

    def _take(self) -> asyncio.Transport | None:
        """Return a kept connection that is still open and silent, the one used last."""
        oldest = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle:
            transport, since = self._idle.popitem()
            if since > oldest and not transport.is_closing() and not _is_readable(transport):
                return transport
            transport.abort()
        return None

    def _keep(self, transport: asyncio.Transport) -> None:
        if len(self._idle) >= MAX_IDLE:
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        transport.set_protocol(_Idle(transport, self._forget))
        self._idle[transport] = loop.time()
        if self._sweeper is None:
            self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep)

    def _forget(self, transport: asyncio.Transport) -> None:
        self._idle.pop(transport, None)

    def _sweep(self) -> None:
        """Close what was not used for so long."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for transport in [kept for kept, since in self._idle.items() if since + IDLE_SECONDS <= now]:
            self._forget(transport)
            transport.abort()
        self._sweeper = loop.call_later(IDLE_SECONDS, self._sweep) if self._idle else None


class _Idle(asyncio.Protocol):
    """Minds a connection between two exchanges: when anything happens on it, nobody uses it again."""

    def __init__(self, transport: asyncio.Transport, forget: Callable[[asyncio.Transport], None]) -> None:
        self._transport = transport
        self._forget = forget

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - bytes that nobody asked for
        self._forget(self._transport)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._forget(self._transport)


def _is_readable(transport: asyncio.Transport) -> bool:
    """Tell whether the connection was closed, or bytes came that nobody asked for, which the loop has not seen yet."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
