"""Reach an enclave over plain sockets: HTTP/1.1 as the channel needs it, and no more.

Connections are kept and may be used from several threads, one exchange at a time each. A request is written once: a
kept connection is looked at before it is used again, and what breaks later is the caller's to know about, since
the enclave may have begun (`docs/spec/client.md` §5). No proxy, no redirect, no decoding, no cookie.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httptools

from mitai.errors import TruncatedMessage
from mitai.transport.wire import unreachable

if TYPE_CHECKING:
    from mitai.transport.wire import OuterRequest

MAX_HEAD_BYTES: Final = 65_536
IDLE_SECONDS: Final = 20.0  # servers and proxies keep an idle connection for longer than this
MAX_IDLE: Final = 32
_READ_BYTES: Final = 65_536
_PORTS: Final = {"http": 80, "https": 443}
_INFORMATIONAL: Final = range(100, 200)
_BREAKS: Final = (OSError, httptools.HttpParserError, httptools.HttpParserUpgrade)


@dataclass(eq=False)
class _Connection:
    """One connection, and the parser of the answer that is being read from it."""

    socket: socket.socket
    parser: httptools.HttpResponseParser | None = None
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    head_bytes: int = 0
    has_head: bool = False
    body: list[bytes] = field(default_factory=list)
    ended: bool = False
    reusable: bool = False
    idle_since: float = 0.0

    def begin(self) -> None:
        """Expect a new answer."""
        self.parser = httptools.HttpResponseParser(self)
        self.status, self.headers, self.head_bytes = 0, [], 0
        self.has_head = self.ended = self.reusable = False
        self.body.clear()

    def feed(self, data: bytes) -> None:
        if self.parser is None or self.ended:
            self.reusable = False
            raise httptools.HttpParserError("bytes after the answer")
        # Counts since the last content, so that it bounds the head, and trailers as well.
        self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES + _READ_BYTES:
            self.reusable = False
            raise httptools.HttpParserError("the fields of the answer are too long")
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.reusable = False
            raise

    # -- what httptools calls

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.parser is not None:
            self.status = self.parser.get_status_code()
            self.reusable = self.parser.should_keep_alive()
        if sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            raise httptools.HttpParserError("the head of the answer is too long")
        if self.status not in _INFORMATIONAL:
            self.has_head = True

    def on_body(self, data: bytes) -> None:
        self.head_bytes = 0
        self.body.append(data)

    def on_message_begin(self) -> None:
        if self.ended:
            raise httptools.HttpParserError("a second answer")

    def on_message_complete(self) -> None:
        if self.status in _INFORMATIONAL:
            self.headers = []
        else:
            self.ended = True


class RawWire:
    """A `mitai.transport.wire.Wire` over sockets; it never suspends.

    Args:
        url: The enclave's address, checked by `Session`.
        context: For ``https``; the default verifies certificates against the system's roots.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._prefix = parts.path
        self._host = parts.hostname or ""
        self._port = parts.port or _PORTS[parts.scheme]
        self._authority = parts.netloc
        self._context = (context or ssl.create_default_context()) if parts.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RawWire {self._url}>"

    async def send(self, request: OuterRequest) -> RawAnswer:
        """Send a request and return the answer once its header arrived.

        Raises:
            EnclaveUnreachable: There is no answer.
        """
        message = self._encode(request)
        connection = self._take() or self._connect(request.timeouts.get("connect"))
        answer = RawAnswer(self, connection, request.timeouts.get("read"))
        try:
            connection.begin()
            connection.socket.settimeout(request.timeouts.get("write"))
            connection.socket.sendall(message)
            answer.read_head()
        except (*_BREAKS, TruncatedMessage) as error:
            self._drop(connection)
            raise unreachable(self._url, error) from error
        except BaseException:
            self._drop(connection)
            raise
        return answer

    def close(self) -> None:
        """Close every connection, also one that an answer is being read from."""
        with self._lock:
            connections, self._open = self._open, set()
            self._idle.clear()
        for connection in connections:
            connection.socket.close()

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answer was read to its end, or close it."""
        if connection.ended and connection.reusable:
            connection.idle_since = time.monotonic()
            with self._lock:
                if connection in self._open and len(self._idle) < MAX_IDLE:
                    self._idle.append(connection)
                    return
        self._drop(connection)

    def _encode(self, request: OuterRequest) -> bytes:
        lines = [f"{request.method} {self._prefix}{request.target} HTTP/1.1", f"host: {self._authority}"]
        lines += [f"{name}: {value}" for name, value in request.headers]
        if request.method == "POST":
            lines.append(f"content-length: {len(request.content)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + request.content

    def _take(self) -> _Connection | None:
        """Return a kept connection that is still open and silent."""
        oldest = time.monotonic() - IDLE_SECONDS
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return None
            # Readable means closed, or bytes that nobody asked for: neither can carry an exchange.
            if connection.idle_since > oldest and not _is_readable(connection.socket):
                return connection
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        with self._lock:
            self._open.discard(connection)
        connection.socket.close()

    def _connect(self, timeout: float | None) -> _Connection:
        try:
            raw = socket.create_connection((self._host, self._port), timeout)
        except OSError as error:
            raise unreachable(self._url, error) from error
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                raw = self._context.wrap_socket(raw, server_hostname=self._host)
        except OSError as error:
            raw.close()
            raise unreachable(self._url, error) from error
        connection = _Connection(raw)
        with self._lock:
            self._open.add(connection)
        return connection


class RawAnswer:
    """A `mitai.transport.wire.OuterAnswer` that is read from a socket.

    Args:
        wire: Takes the connection back.
        connection: Where the answer comes from.
        silence: Seconds without a byte after which it counts as broken off.
    """

    def __init__(self, wire: RawWire, connection: _Connection, silence: float | None) -> None:
        self._wire = wire
        self._connection = connection
        self._silence = silence
        self._closed = False
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def status(self) -> int:
        """Return the status code."""
        return self._connection.status

    def header(self, name: str) -> list[str]:
        """Return all values of a header field, by its lower-case name."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1").strip() for key, value in self._headers if key.lower() == wanted]

    def read_head(self) -> None:
        """Read until status and fields are there.

        Raises:
            TruncatedMessage: The connection ended before.
        """
        while not self._connection.has_head:
            self._receive()
        self._headers = list(self._connection.headers)  # trailers come into the same list

    async def read(self) -> bytes:
        """Return the next bytes of the body as they arrive; nothing at its end.

        Raises:
            TruncatedMessage: The connection broke.
        """
        connection = self._connection
        if self._closed:
            return b""
        try:
            while not connection.body and not connection.ended:
                self._receive()
        except _BREAKS as error:
            raise TruncatedMessage(f"The connection broke ({type(error).__name__}).") from error
        data = connection.body[0] if len(connection.body) == 1 else b"".join(connection.body)
        connection.body.clear()
        return data

    async def close(self) -> None:
        """Give the connection back, or up if the body was not read to its end."""
        if not self._closed:
            self._closed = True
            self._wire.give_back(self._connection)

    def _receive(self) -> None:
        self._connection.socket.settimeout(self._silence)
        data = self._connection.socket.recv(_READ_BYTES)
        if not data:
            raise TruncatedMessage("The connection ended before the answer.")
        self._connection.feed(data)


def _is_readable(connection: socket.socket) -> bool:
    """Tell whether a socket has something to read, or is of no use any more."""
    poll = select.poll()  # bears any descriptor, where `select` ends at 1024
    try:
        poll.register(connection, select.POLLIN)
    except (OSError, ValueError):  # closed by another thread
        return True
    return bool(poll.poll(0))
