"""What the sealed channel needs of an HTTP library: send one request, read the answer piece by piece.

The channel is written once, as coroutines over `Wire`. A synchronous wire never suspends, so `run_now` can
drive the same coroutines without an event loop.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from mitai.errors import EnclaveUnreachable, TruncatedMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
    from types import TracebackType

T = TypeVar("T")
Timeouts = dict[str, float | None]
"""Seconds by phase, as httpx names them: ``connect``, ``read``, ``write``, ``pool``."""


@dataclass(frozen=True)
class OuterRequest:
    """A request as the operator sees it.

    Attributes:
        method: ``GET`` or ``POST``.
        target: Path and query below the enclave's URL.
        headers: Fields besides those that the library writes for framing.
        content: The body.
        timeouts: Seconds by phase; the library's defaults where empty.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    content: bytes = field(default=b"", repr=False)
    timeouts: Timeouts = field(default_factory=dict)


class OuterAnswer(Protocol):
    """An answer as the operator wrote it: nothing in it is trusted."""

    @property
    def status(self) -> int:
        """Return the status code."""

    def header(self, name: str) -> list[str]:
        """Return all values of a header field, by its lower-case name."""

    async def read(self) -> bytes:
        """Return the next bytes of the body as they arrive, uncoded; nothing at its end.

        Raises:
            TruncatedMessage: The connection broke.
        """

    async def close(self) -> None:
        """Give the connection back, or up if the body was not read to its end."""


class Wire(Protocol):
    """One HTTP library, synchronous or not, and one enclave's URL."""

    async def send(self, request: OuterRequest) -> OuterAnswer:
        """Send a request and return the answer once its header arrived; follow no redirect.

        Raises:
            EnclaveUnreachable: There is no answer.
        """


class ThreadGate:
    """A lock for threads that is entered like one for tasks; entering blocks the thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


class SyncAnswer:
    """An `OuterAnswer` over the body iterator of a synchronous library.

    Args:
        status: The status code.
        headers: Raw header fields.
        body: The body, piece by piece.
        close: Gives the connection back.
        breaks: The library's errors for a broken connection.
    """

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: Iterator[bytes],
        close: Callable[[], None],
        breaks: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self._headers = headers
        self._body = body
        self._close = close
        self._breaks = breaks

    def header(self, name: str) -> list[str]:
        """Return all values of a header field."""
        return header_values(self._headers, name)

    async def read(self) -> bytes:
        """Return the next bytes, nothing at the end."""
        try:
            for piece in self._body:
                if piece:
                    return piece
        except self._breaks as error:
            raise _broken(error) from error
        return b""

    async def close(self) -> None:
        """Give the connection back."""
        self._close()


class AsyncAnswer:
    """An `OuterAnswer` over the body iterator of an asynchronous library; arguments as for `SyncAnswer`."""

    def __init__(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        body: AsyncIterator[bytes],
        close: Callable[[], Awaitable[None]],
        breaks: tuple[type[Exception], ...],
    ) -> None:
        self.status = status
        self._headers = headers
        self._body = body
        self._close = close
        self._breaks = breaks

    def header(self, name: str) -> list[str]:
        """Return all values of a header field."""
        return header_values(self._headers, name)

    async def read(self) -> bytes:
        """Return the next bytes, nothing at the end."""
        try:
            async for piece in self._body:
                if piece:
                    return piece
        except self._breaks as error:
            raise _broken(error) from error
        return b""

    async def close(self) -> None:
        """Give the connection back."""
        await self._close()


def header_values(headers: Sequence[tuple[bytes, bytes]], name: str) -> list[str]:
    """Return the values of all fields called `name` (lower case)."""
    wanted = name.encode("ascii")
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == wanted]


def timeouts_of(extensions: Mapping[str, object]) -> Timeouts:
    """Return the timeouts among the extensions of an httpx request; nothing else is taken over."""
    given = extensions.get("timeout")
    if not isinstance(given, dict):
        return {}
    return {
        str(phase): seconds for phase, seconds in given.items() if seconds is None or isinstance(seconds, (int, float))
    }


def unreachable(url: str, error: Exception) -> EnclaveUnreachable:
    """Return the error for a request that got no answer."""
    return EnclaveUnreachable(f"{url} does not answer ({type(error).__name__}).")


def run_now(coroutine: Coroutine[object, None, T]) -> T:
    """Run a coroutine over a synchronous wire to its end, in this thread."""
    try:
        coroutine.send(None)
    except StopIteration as finished:
        result: T = finished.value
        return result
    coroutine.close()
    raise RuntimeError("a synchronous wire must not suspend")


def _broken(error: Exception) -> TruncatedMessage:
    return TruncatedMessage(f"The connection broke ({type(error).__name__}).")
