"""One HTTP exchange with the engine: send a request, read head and content as they come, break off at will.

A connection carries one exchange after the other, never two at one time; closing it is how a generation is aborted.
An answer ends where its framing says so; one that ends with the connection is broken. Nothing is sent twice: a kept
connection is looked at before it is used, and what breaks later is the caller's to know about.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httptools

from mitai_enclave.address import UnixAddress
from mitai_enclave.errors import EngineBroke, EngineTimeout, EngineUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_enclave.address import EngineAddress

_HIGH_WATER: Final = 256 * 1024  # stop reading from the engine while this much waits for the client
_MAX_HEAD: Final = 64 * 1024
_INFORMATIONAL: Final = 200


@dataclass(frozen=True, slots=True)
class EngineHead:
    """Status and media type of an answer; every other header field of the engine ends here."""

    status: int
    content_type: str


class Exchange(asyncio.Protocol):
    """The reading side of one exchange. Made by `open_exchange`.

    Args:
        silence: Seconds without a byte after which the engine counts as hung.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._head: EngineHead | None = None
        self._head_bytes = 0
        self._content_type = b""
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._complete = False
        self._broken = False
        self._silent = False
        self._keeps_alive = False
        self._keep: Callable[[asyncio.Transport], None] | None = None

    def begin(
        self,
        transport: asyncio.Transport,
        message: bytes,
        keep: Callable[[asyncio.Transport], None] | None = None,
    ) -> None:
        """Take over a connection on which nothing is going on, and send a whole request.

        Args:
            transport: The connection.
            message: The request.
            keep: Takes the connection back if it can carry another exchange.
        """
        self._transport = transport
        self._keep = keep
        transport.set_protocol(self)
        transport.write(message)

    async def head(self) -> EngineHead:
        """Wait for status and header fields.

        Raises:
            EngineBroke: The connection ended or spoke no HTTP.
            EngineTimeout: Nothing came for too long.
        """
        while self._head is None:
            await self._wait()
        return self._head

    async def read(self) -> bytes:
        """Return all content that is there, waiting for some; empty at the end of the answer.

        Raises:
            EngineBroke: The connection ended before the answer did.
            EngineTimeout: Nothing came for too long.
        """
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return data

    def abort(self) -> None:
        """Close the connection now; a waiting reader gets `EngineBroke`. It is kept if the answer came to its end."""
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if self._keep is not None and self._is_over(transport):
            self._keep(transport)
        else:
            transport.abort()

    def _is_over(self, transport: asyncio.Transport) -> bool:
        """Tell whether both sides have said all, so that the next bytes belong to the next exchange."""
        return (
            self._complete
            and self._keeps_alive
            and not self._broken
            and not self._paused
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    async def _wait(self) -> None:
        if self._broken:
            raise EngineBroke("The connection to the engine broke off.")
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(self._silence, self._give_up)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        if self._silent:
            raise EngineTimeout("The engine stayed silent for too long.")

    def _give_up(self) -> None:
        self._silent = True
        self.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self) -> None:
        self._broken = True
        self.abort()
        self._wake()

    # What asyncio calls.

    def data_received(self, data: bytes) -> None:
        """Parse what the engine sent."""
        if self._complete or self._broken:
            self._break()  # bytes behind the answer: whatever they are, they are nobody's
            return
        if self._head is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break()
            return
        if self._head is None and self._head_bytes > _MAX_HEAD:
            self._break()
            return
        if self._buffered > _HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Note a connection that ended too early."""
        if not self._complete:
            self._broken = True
        self._wake()

    # What httptools calls.

    def on_message_begin(self) -> None:
        """Refuse a second answer."""
        if self._complete:
            raise httptools.HttpParserError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the media type and drop the rest."""
        if name.lower() == b"content-type":
            self._content_type = value

    def on_headers_complete(self) -> None:
        """Publish the head, unless it is an informational one."""
        status = self._parser.get_status_code()
        if status >= _INFORMATIONAL:
            self._head = EngineHead(status, self._content_type.decode("latin-1"))
            self._keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of content."""
        self._pieces.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        """Note the end of the answer, unless an informational one ended."""
        if self._head is not None:
            self._complete = True


async def open_exchange(
    address: EngineAddress,
    method: bytes,
    path: bytes,
    body: bytes = b"",
    *,
    accept: bytes = b"application/json",
    silence: float,
) -> Exchange:
    """Connect to the engine and send a whole request.

    Args:
        address: Where the engine listens.
        method: As on the request line.
        path: The same; comes from the allow-list, never from a client.
        body: JSON, or empty.
        accept: The media type that is asked for.
        silence: Seconds of silence that the exchange bears.

    Raises:
        EngineUnreachable: There is no connection, so nothing was executed.
    """
    transport = await connect(address, silence)
    exchange = Exchange(silence)
    exchange.begin(transport, encode_request(method, path, body, accept, b"connection: close"))
    return exchange


async def connect(address: EngineAddress, seconds: float) -> asyncio.Transport:
    """Open a connection that no exchange uses yet.

    Raises:
        EngineUnreachable: There is none within `seconds`.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(seconds):
            if isinstance(address, UnixAddress):
                transport, _ = await loop.create_unix_connection(asyncio.Protocol, str(address.path))
            else:
                transport, _ = await loop.create_connection(asyncio.Protocol, address.host, address.port)
    except (OSError, TimeoutError) as error:
        raise EngineUnreachable("The engine takes no connection.") from error
    return transport


def encode_request(method: bytes, path: bytes, body: bytes, accept: bytes, *lines: bytes) -> bytes:
    """Write a request; `lines` are further header fields."""
    head = [method + b" " + path + b" HTTP/1.1", b"host: engine", b"accept: " + accept, *lines]
    if body:
        head += [b"content-type: application/json", b"content-length: " + str(len(body)).encode()]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def probe(address: EngineAddress, *, path: bytes, seconds: float) -> bool:
    """Tell whether the engine answers `GET path` with 200 within `seconds`."""
    try:
        exchange = await open_exchange(address, b"GET", path, silence=seconds)
    except EngineUnreachable:
        return False
    try:
        return (await exchange.head()).status == 200  # noqa: PLR2004 - HTTP's own number
    except (EngineBroke, EngineTimeout):
        return False
    finally:
        exchange.abort()
