"""The sealed transports for `httpx2`.

The libraries have the same names and no common class, so `_httpx` and `_httpx2` have the same text (a test
compares them) and hold nothing but the adapting.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, cast

import anyio
import httpx2

from mitai.padding import PADDED
from mitai.transport.exchange import PlainRequest
from mitai.transport.sending import SealedAnswer, Sender
from mitai.transport.session import Session
from mitai.transport.wire import (
    AsyncAnswer,
    OuterRequest,
    SyncAnswer,
    ThreadGate,
    run_now,
    timeouts_of,
    unreachable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from mitai.disclosure import Outgoing
    from mitai.padding import Padding
    from mitai_crypto.policy import TrustPolicy

_BREAKS: Final = (httpx2.TransportError, ssl.SSLError, anyio.EndOfStream)


class SyncWire:
    """A `mitai.transport.wire.Wire` over a synchronous `httpx2` transport; it never suspends."""

    def __init__(self, url: str, transport: httpx2.BaseTransport) -> None:
        self._url = url
        self._transport = transport

    async def send(self, request: OuterRequest) -> SyncAnswer:
        """Send a request and return the answer once its header arrived."""
        try:
            response = self._transport.handle_request(_outer(self._url, request))
        except _BREAKS as error:
            raise unreachable(self._url, error) from error
        body = iter(cast("httpx2.SyncByteStream", response.stream))
        return SyncAnswer(response.status_code, response.headers.raw, body, response.close, _BREAKS)

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncWire:
    """A `mitai.transport.wire.Wire` over an asynchronous `httpx2` transport."""

    def __init__(self, url: str, transport: httpx2.AsyncBaseTransport) -> None:
        self._url = url
        self._transport = transport

    async def send(self, request: OuterRequest) -> AsyncAnswer:
        """Send a request and return the answer once its header arrived."""
        try:
            response = await self._transport.handle_async_request(_outer(self._url, request))
        except _BREAKS as error:
            raise unreachable(self._url, error) from error
        body = aiter(cast("httpx2.AsyncByteStream", response.stream))
        return AsyncAnswer(response.status_code, response.headers.raw, body, response.aclose, _BREAKS)


class SealedTransport(httpx2.BaseTransport):
    """Makes any `httpx2` client confidential: every request goes sealed to one verified enclave.

        client = httpx2.Client(transport=SealedTransport(url, policy=policy, token=token))
        openai.OpenAI(http_client=client, base_url="https://mitai.invalid/v1", api_key="unused")

    Scheme and host of a request are dropped; its path chooses the route in the enclave. Errors of the channel
    are Mitai's own, since clients resend by themselves on those of `httpx2`
    (`docs/adr/0060-errors-of-the-transport.md`).

    Args:
        url: Where the enclave answers.
        policy: What it must prove.
        token: The access token; without one the `authorization` field of the request goes, sealed.
        before_send: Is shown everything before it leaves; if it raises, nothing leaves.
        padding: What the sizes on the wire may show.
        transport: Carries the sealed bytes; for proxies, certificates and sockets.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: TrustPolicy,
        token: str | None = None,
        before_send: Callable[[Outgoing], None] | None = None,
        padding: Padding = PADDED,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        session = Session(url, policy, gate=ThreadGate())
        self._transport = transport or httpx2.HTTPTransport()
        wire = SyncWire(session.url, self._transport)
        self._sender = Sender(session, wire, token=token, before_send=before_send, padding=padding)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, sealed; the answer streams, and fails at its reader if it is not whole.

        Raises:
            MitaiError: `EnclaveUnreachable`, `VerificationFailed`, `PlaintextRefused` or `IncompleteAnswer`.
        """
        request.read()
        sending = self._sender.send(_plain(request), timeouts=timeouts_of(request.extensions))
        return _response(answer := run_now(sending), _SyncBody(answer))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


class AsyncSealedTransport(httpx2.AsyncBaseTransport):
    """`SealedTransport` for `httpx2.AsyncClient`; arguments and errors are the same."""

    def __init__(
        self,
        url: str,
        *,
        policy: TrustPolicy,
        token: str | None = None,
        before_send: Callable[[Outgoing], None] | None = None,
        padding: Padding = PADDED,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        session = Session(url, policy, gate=anyio.Lock())
        self._transport = transport or httpx2.AsyncHTTPTransport()
        wire = AsyncWire(session.url, self._transport)
        self._sender = Sender(session, wire, token=token, before_send=before_send, padding=padding)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, sealed; see `SealedTransport.handle_request`."""
        await request.aread()
        answer = await self._sender.send(_plain(request), timeouts=timeouts_of(request.extensions))
        return _response(answer, _AsyncBody(answer))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


class _SyncBody(httpx2.SyncByteStream):
    def __init__(self, answer: SealedAnswer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        while piece := run_now(self._answer.read()):
            yield piece

    def close(self) -> None:
        run_now(self._answer.close())


class _AsyncBody(httpx2.AsyncByteStream):
    def __init__(self, answer: SealedAnswer) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self._answer.read():
            yield piece

    async def aclose(self) -> None:
        await self._answer.close()


def _outer(url: str, request: OuterRequest) -> httpx2.Request:
    return httpx2.Request(
        request.method,
        url + request.target,
        headers=request.headers,
        content=request.content,
        extensions={"timeout": request.timeouts} if request.timeouts else {},
    )


def _plain(request: httpx2.Request) -> PlainRequest:
    return PlainRequest(
        request.method.encode("ascii"), request.url.raw_path, tuple(request.headers.raw), request.content
    )


def _response(answer: SealedAnswer, body: _SyncBody | _AsyncBody) -> httpx2.Response:
    return httpx2.Response(answer.status, headers=list(answer.headers), stream=body, extensions={"mitai": answer})
