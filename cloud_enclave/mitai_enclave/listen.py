"""Where is the sidecar reached, and what bears a connection there? Listening sockets and the HTTP server on them."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mitai_enclave.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

DRAIN_SECONDS: Final = 30
LOOPBACK: Final = "127.0.0.1"
_KEEP_ALIVE_SECONDS: Final = 60
_MILLISECONDS: Final = 1000


class Server(uvicorn.Server):
    """uvicorn without signal handlers of its own.

    Args:
        config: What to serve and how.
        on_start: Called once connections are accepted.
    """

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._on_start = on_start

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing: two servers share one process, which has its own handlers."""
        yield

    def drain(self) -> None:
        """Accept nothing more, finish what was begun, and end."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        if self._on_start is not None:
            self._on_start()


class _Connection(HttpToolsProtocol):
    """A connection that is given up when its peer does not take what is sent to it."""

    def __init__(self, *, send_seconds: float, **rest: object) -> None:
        super().__init__(**rest)  # type: ignore[arg-type] # what uvicorn gives to its own class
        self._send_seconds = send_seconds
        self._stalled: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Bear a full buffer for so long and no longer: behind it a slot is held and an engine waits."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self._send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._calm()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._calm()
        super().connection_lost(exc)

    def _calm(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def make_server(app: object, *, send_seconds: float, on_start: Callable[[], None] | None = None) -> Server:
    """Make an HTTP server for an ASGI application.

    Args:
        app: The application.
        send_seconds: How long a peer may leave a full buffer unread.
        on_start: Called once connections are accepted.
    """
    config = uvicorn.Config(
        app,  # type: ignore[arg-type] # our ASGI types are narrower than uvicorn's
        http=partial(_Connection, send_seconds=send_seconds),  # type: ignore[arg-type] # called, never subclassed
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    return Server(config, on_start)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Open a listening socket.

    Args:
        host: An address as a number.
        port: The port; 0 for any free one.
        shared: Whether others may listen there too: sockets of this user that were opened the same way.

    Raises:
        ConfigurationError: It is taken, or no address of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][0]
        return socket.create_server((host, port), family=family, reuse_port=shared)
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            hint="Choose a free --port, or 0 for any.",
        ) from error


def listen_apart(host: str, port: int, number: int) -> list[socket.socket]:
    """Open several listening sockets on one port; the kernel deals the connections out.

    Raises:
        ConfigurationError: As for `listen`; also when somebody listens there already.
    """
    listen(host, port).close()  # a socket that shares the port with a stranger would lose connections to him
    first = listen(host, port, shared=True)
    return [first, *(listen(host, first.getsockname()[1], shared=True) for _ in range(number - 1))]


def rejoin(address: tuple[str, int]) -> socket.socket:
    """Bind one more socket to a port of `listen_apart`; it gets no connection before somebody listens on it.

    Raises:
        OSError: The port cannot be had again.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    joined = socket.socket(family, socket.SOCK_STREAM)
    try:
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as the others of this port
        joined.bind(address)
    except OSError:
        joined.close()
        raise
    return joined


def bound_sending(listener: socket.socket, seconds: int) -> None:
    """Have the kernel give up connections whose peer takes nothing for so long, also while they are closed."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, seconds * _MILLISECONDS)


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
