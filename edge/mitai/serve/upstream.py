"""The enclave behind the endpoint: one pool of connections, for the event loop and for threads alike.

Plain requests go through `Upstream.sender`, in the event loop. `mitai.ask` is synchronous and runs in worker threads
with `Upstream.client`, whose bytes `LoopTransport` carries through the same pool. Spec: `docs/spec/serve.md` §3.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar, cast

import anyio
import httpx2
from anyio import from_thread

from mitai.enclave import CONNECT_TIMEOUT_SECONDS, DEFAULT_TIMEOUT_SECONDS, EnclaveClient
from mitai.padding import PADDED
from mitai.transport._httpx2 import AsyncWire
from mitai.transport.sending import Sender
from mitai.transport.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from mitai.padding import Padding
    from mitai.transport.wire import Timeouts
    from mitai_crypto.policy import TrustPolicy
    from mitai_crypto.verify import AttestationResult

P = ParamSpec("P")
T = TypeVar("T")

TIMEOUTS: Final[Timeouts] = {
    "connect": CONNECT_TIMEOUT_SECONDS,
    "read": DEFAULT_TIMEOUT_SECONDS,
    "write": DEFAULT_TIMEOUT_SECONDS,
    "pool": DEFAULT_TIMEOUT_SECONDS,
}
_MAX_CONNECTIONS: Final = 100
_KEPT_CONNECTIONS: Final = 20


class Upstream:
    """One enclave under one policy.

    Args:
        url: Where it answers.
        policy: What it must prove.
        token: The access token, which no local client ever sees.
        padding: What the sizes on the wire may show.

    Attributes:
        sender: Sends plain requests, in the event loop.
        client: Asks for threads; only inside `anyio.to_thread`.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
    """

    def __init__(self, url: str, *, policy: TrustPolicy, token: str, padding: Padding = PADDED) -> None:
        limits = httpx2.Limits(max_connections=_MAX_CONNECTIONS, max_keepalive_connections=_KEPT_CONNECTIONS)
        self._transport = httpx2.AsyncHTTPTransport(limits=limits)
        session = Session(url, policy, gate=anyio.Lock())
        self.sender: Final = Sender(session, AsyncWire(session.url, self._transport), token=token, padding=padding)
        self.client: Final = EnclaveClient(
            url, policy=policy, token=token, padding=padding, transport=LoopTransport(self._transport)
        )

    async def verify(self) -> AttestationResult:
        """Fetch evidence of this moment and check it.

        Raises:
            EnclaveUnreachable: There is no evidence to be had.
            VerificationFailed: A step failed; the error holds the report.
        """
        return await self.sender.verify(TIMEOUTS, fresh=True)

    def attested(self) -> dict[str, str]:
        """Return the fields that say what is known of the enclave right now."""
        kept = self.sender.session.current()
        attestation = self.client.attestation if kept is None else kept.attestation
        return {"mitai-tee": "unverified"} if attestation is None else attested_fields(attestation)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


def attested_fields(attestation: AttestationResult) -> dict[str, str]:
    """Return the header fields that name what was verified of an enclave."""
    return {"mitai-tee": attestation.tee.value, "mitai-measurement": attestation.measurement}


class LoopTransport(httpx2.BaseTransport):
    """A synchronous transport for worker threads over an asynchronous one.

    A call from a thread runs in the event loop as a part of the task that waits for the thread: if that task is
    cancelled, the call is, too, and raises `concurrent.futures.CancelledError` in the thread.
    """

    def __init__(self, transport: httpx2.AsyncBaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request through the event loop."""
        response = _in_loop(self._transport.handle_async_request, request)
        return httpx2.Response(
            response.status_code,
            headers=response.headers.raw,
            stream=_LoopStream(response),
            extensions=response.extensions,
        )


class _LoopStream(httpx2.SyncByteStream):
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self._pieces = aiter(cast("httpx2.AsyncByteStream", response.stream))

    def __iter__(self) -> Iterator[bytes]:
        while piece := _in_loop(self._next):
            yield piece

    def close(self) -> None:
        _in_loop(self._close)

    async def _next(self) -> bytes:
        async for piece in self._pieces:
            if piece:
                return piece
        return b""

    async def _close(self) -> None:
        with anyio.CancelScope(shield=True):  # a connection is given back also for a client that went away
            await self._response.aclose()


def _in_loop(function: Callable[P, Coroutine[object, None, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a coroutine function in the event loop that this thread works for.

    Raises:
        concurrent.futures.CancelledError: The task that waits for this thread was cancelled.
    """
    try:
        return from_thread.run(partial(function, *args, **kwargs))
    except asyncio.CancelledError:  # which of the two classes comes depends on what was cancelled first
        raise concurrent.futures.CancelledError from None


@asynccontextmanager
async def closing(upstream: Upstream) -> AsyncIterator[Upstream]:
    """Close the connections at the end of the block."""
    try:
        yield upstream
    finally:
        await upstream.aclose()
