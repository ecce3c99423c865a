"""One HTTP exchange with the engine: send a request, read head and content as they come, break off at will.

Every exchange has a connection of its own: on a Unix socket that costs some 50 µs, and closing it is how a
generation is aborted. An answer ends where its framing says so; one that ends with the connection is broken.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

import httptools

from mitai_enclave.address import UnixAddress
from mitai_enclave.errors import EngineBroke, EngineTimeout, EngineUnreachable

if TYPE_CHECKING:
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
        """Close the connection now; a waiting reader gets `EngineBroke`."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._broken:
            raise EngineBroke("The connection to the engine broke off.")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._silence):
                await self._waiter
        except TimeoutError:
            self.abort()
            raise EngineTimeout("The engine stayed silent for too long.") from None
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _break(self) -> None:
        self._broken = True
        self.abort()
        self._wake()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse what the engine sent."""
        if self._complete or self._broken:
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

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the media type and drop the rest."""
        if name.lower() == b"content-type":
            self._content_type = value

    def on_headers_complete(self) -> None:
        """Publish the head, unless it is an informational one."""
        status = self._parser.get_status_code()
        if status >= _INFORMATIONAL:
            self._head = EngineHead(status, self._content_type.decode("latin-1"))

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
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(silence):
            if isinstance(address, UnixAddress):
                transport, exchange = await loop.create_unix_connection(lambda: Exchange(silence), str(address.path))
            else:
                transport, exchange = await loop.create_connection(
                    lambda: Exchange(silence), address.host, address.port
                )
    except (OSError, TimeoutError) as error:
        raise EngineUnreachable("The engine takes no connection.") from error
    lines = [method + b" " + path + b" HTTP/1.1", b"host: engine", b"accept: " + accept, b"connection: close"]
    if body:
        lines += [b"content-type: application/json", b"content-length: " + str(len(body)).encode()]
    transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
    return exchange


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
