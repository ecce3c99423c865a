"""Plain requests: the body goes to the enclave byte for byte, the answer comes back as it is.

Spec: `docs/spec/serve.md` §4.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import anyio
from starlette.responses import Response

from mitai.errors import IncompleteAnswer
from mitai.serve.recording import ENGINE_FAILED, DisclosureRow
from mitai.serve.stream import EventStream, whole_events
from mitai.serve.upstream import TIMEOUTS, attested_fields
from mitai.transport.event_stream import MEDIA_TYPE as EVENT_STREAM
from mitai.transport.exchange import PlainRequest, media_type
from mitai_crypto.labels import CACHE_SALT_HEADER

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from starlette.requests import Request

    from mitai.answering.answer import Ledger
    from mitai.serve.upstream import Upstream
    from mitai.transport.sending import SealedAnswer

FORWARDED: Final = frozenset({b"accept", CACHE_SALT_HEADER})
_OK: Final = 200


class Forwarder:
    """Passes plain requests on.

    Args:
        upstream: The enclave.
        ledger: Gets a row for each request with a body; None records nothing.
    """

    def __init__(self, upstream: Upstream, ledger: Ledger | None = None) -> None:
        self._upstream = upstream
        self._ledger = ledger

    async def post(self, request: Request) -> Response:
        """Send a request and answer with what the enclave says: collected, or as a stream.

        Raises:
            MitaiError: The channel failed before there was an answer.
        """
        headers = (*_forwarded(request.scope["headers"]), (b"content-type", b"application/json"))
        plain = PlainRequest(b"POST", request.url.path.encode(), headers, await request.body())
        row = DisclosureRow(self._ledger) if self._ledger is not None else None
        try:
            answer = await self._upstream.sender.send(
                plain, timeouts=TIMEOUTS, before_send=row.begin if row is not None else None
            )
        except BaseException as error:
            if row is not None:
                await row.end(None, error)
            raise
        pieces = _read(answer, row)
        if answer.status == _OK and media_type(answer.headers) == EVENT_STREAM:
            return EventStream(pieces, attested_fields(answer.attestation))
        return _collected(answer, b"".join([piece async for piece in pieces]))

    async def models(self, request: Request) -> Response:
        """Return the enclave's list of models as it sends it; nothing of it is recorded.

        Raises:
            MitaiError: The channel failed.
        """
        plain = PlainRequest(b"GET", request.url.path.encode(), tuple(_forwarded(request.scope["headers"])))
        answer = await self._upstream.sender.send(plain, timeouts=TIMEOUTS)
        return _collected(answer, b"".join([piece async for piece in _read(answer, None)]))


def _forwarded(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name in FORWARDED]


async def _read(answer: SealedAnswer, row: DisclosureRow | None) -> AsyncGenerator[bytes, None]:
    """Yield an answer's content, close it and end its row, whatever happens.

    Raises:
        IncompleteAnswer: The answer is not whole, or the engine failed within it.
    """
    failure: BaseException | None = None
    try:
        if media_type(answer.headers) == EVENT_STREAM:
            async for piece in whole_events(_pieces(answer)):
                yield piece
        else:
            yield await answer.read_all()
        _check_engine(answer)
    except BaseException as error:
        failure = error
        raise
    finally:
        with anyio.CancelScope(shield=True):
            await answer.close()
            if row is not None:
                await row.end(answer, failure)


def _check_engine(answer: SealedAnswer) -> None:
    if answer.status == _OK and answer.receipt is not None and answer.receipt.finish == ENGINE_FAILED:
        raise IncompleteAnswer("The engine broke off while it was answering.")


async def _pieces(answer: SealedAnswer) -> AsyncIterator[bytes]:
    while piece := await answer.read():
        yield piece


def _collected(answer: SealedAnswer, content: bytes) -> Response:
    headers = attested_fields(answer.attestation)
    if answer.receipt is not None:
        headers["mitai-receipt"] = hashlib.sha256(answer.receipt.encode()).hexdigest()
    kinds = [value for name, value in answer.headers if name == b"content-type"]
    return Response(content, answer.status, headers, media_type=kinds[0].decode("latin-1") if kinds else None)
