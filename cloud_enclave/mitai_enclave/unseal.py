"""The hot path: a sealed request in, a sealed answer out (`docs/spec/http.md` §3 and §5)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from mitai_crypto.receipt import RequestDigest
from mitai_enclave import log, problems
from mitai_enclave.answer import EVENTS, JSON, Exchange, SealedAnswer, error_event
from mitai_enclave.connections import Connections
from mitai_enclave.errors import (
    AnswerTooLarge,
    ClientGone,
    EngineBroke,
    EngineError,
    EngineTimeout,
    EngineUnreachable,
    KeyExpired,
    RequestRefused,
)
from mitai_enclave.inner import check_request, decode_inner
from mitai_enclave.intake import Gate, read_request, verify_envelope
from mitai_enclave.metrics import Outcome
from mitai_enclave.observe import COMPLETE, ERROR, Observer
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.routes import RouteClass

if TYPE_CHECKING:
    from mitai_crypto.bhttp import Request
    from mitai_crypto.kem import PrivateKey
    from mitai_crypto.ohttp import KeyConfig, OpenedRequest
    from mitai_enclave.asgi import Receive, Scope, Send
    from mitai_enclave.attestation import Identity
    from mitai_enclave.config import Limits
    from mitai_enclave.engine import Engine
    from mitai_enclave.epochs import KeyEpochs, LiveEpoch
    from mitai_enclave.inner import Call, Rules
    from mitai_enclave.metrics import Metrics
    from mitai_enclave.upstream import Exchange as EngineExchange

_CLIENT_ERROR: Final = 400
_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_RESERVE: Final = 64 * 1024  # room for an error event, the receipt and the final chunk
_GENERATING: Final = frozenset({RouteClass.CHAT, RouteClass.COMPLETIONS})
_OUTCOMES: Final = {
    "replayed_request": Outcome.REPLAYED,
    "repeated_request": Outcome.REPLAYED,
    "engine_unavailable": Outcome.UNAVAILABLE,
    "overloaded": Outcome.UNAVAILABLE,
    "replay_set_full": Outcome.UNAVAILABLE,
}


class Unsealer:
    """Serves sealed requests.

    Args:
        epochs: The keys.
        engine: Where requests go.
        identity: Signs receipts.
        rules: What requests are checked against.
        limits: The caps.
        metrics: Counts how requests end.
    """

    def __init__(
        self,
        *,
        epochs: KeyEpochs,
        engine: Engine,
        identity: Identity,
        rules: Rules,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._epochs = epochs
        self._engine = engine
        self._connections = Connections(engine.address)
        self._identity = identity
        self._rules = rules
        self._limits = limits
        self._metrics = metrics
        self._reading = Gate(limits.reading)
        self._running = Gate(limits.running)

    async def serve(self, scope: Scope, receive: Receive, send: Send, fingerprint: str | None) -> None:
        """Answer one request on a gateway path.

        Args:
            scope: ASGI's scope.
            receive: ASGI's receive.
            send: ASGI's send.
            fingerprint: The only key that may open it, where the path names one.
        """
        try:
            live, opened = await self._open(scope, receive, fingerprint)
            await self._answer(live, opened, receive, send)
        except PublicRefusal as refusal:
            unopened = refusal.problem is problems.UNOPENED
            self._metrics.count(Outcome.UNOPENED if unopened else Outcome.REJECTED)
            await refusal.problem.send(send)
        except ClientGone:
            self._metrics.count(Outcome.ABORTED)

    async def _open(self, scope: Scope, receive: Receive, fingerprint: str | None) -> tuple[LiveEpoch, OpenedRequest]:
        """Take steps 1 to 5."""
        verify_envelope(scope, self._limits.request_bytes)
        if self._reading.is_full:
            raise PublicRefusal(problems.BUSY)
        used: LiveEpoch | None = None

        def lookup(key_id: int) -> tuple[KeyConfig, PrivateKey] | None:
            nonlocal used
            found = self._epochs.find(key_id)
            if found is None or fingerprint not in {None, found[1].config.fingerprint}:
                return None
            used = found[0]
            return found[1].config, found[1].private

        with self._reading:
            opened = await read_request(receive, lookup, self._limits)
        if used is None:
            raise PublicRefusal(problems.UNOPENED)
        return used, opened

    async def _answer(self, live: LiveEpoch, opened: OpenedRequest, receive: Receive, send: Send) -> None:
        """Take steps 6 to 15."""
        began = time.perf_counter()
        inner = _decode(opened.plaintext)
        exchange = Exchange(opened, _digest(inner, opened.plaintext), live.material_digest)
        answer = SealedAnswer(send, exchange, self._identity)
        try:
            call = self._admit(inner, live, opened)
        except KeyExpired:
            raise PublicRefusal(problems.UNOPENED) from None
        except RequestRefused as refusal:
            self._metrics.count(_OUTCOMES.get(refusal.code, Outcome.REFUSED))
            await answer.refuse(refusal)
            return
        except Exception as error:  # noqa: BLE001 - reported, and answered with a sealed 500
            await self._report_fault(error, answer, RouteClass.OTHER)
            return
        self._metrics.observe_handover(time.perf_counter() - began)
        kind = call.route.kind
        with self._running:
            try:
                self._metrics.count(await self._forward(call, answer, receive), kind)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001 - the same, or raised again
                await self._report_fault(error, answer, kind)

    def _admit(self, inner: Request | RequestRefused, live: LiveEpoch, opened: OpenedRequest) -> Call:
        """Take steps 6 to 14 in one go, without giving way to another request."""
        if isinstance(inner, RequestRefused):
            raise inner
        call = check_request(inner, self._rules, time.time())
        if not self._engine.healthy:
            raise RequestRefused(503, "engine_unavailable", "The engine is not running; try again later.")
        if self._running.is_full:
            raise RequestRefused(503, "overloaded", "Too many requests are running; try again later.")
        self._epochs.admit(live, opened.enc, call.principal, call.request_id)
        return call

    async def _forward(self, call: Call, answer: SealedAnswer, receive: Receive) -> Outcome:
        """Take step 15: hand the request to the engine and its answer to the client."""
        try:
            exchange = await self._connections.open_exchange(
                call.route.method,
                call.route.path,
                call.body,
                accept=b"text/event-stream" if call.stream else JSON,
                silence=self._limits.engine_silence_seconds,
            )
        except EngineUnreachable as error:
            await answer.refuse(_refusal_for(error))
            return Outcome.UNAVAILABLE
        watcher = asyncio.create_task(_abort_when_gone(receive, exchange))
        try:
            return await self._relay(call, answer, exchange)
        except EngineError as error:
            if watcher.done():
                raise ClientGone("The client closed its connection.") from None
            refusal = _refusal_for(error)
            if answer.started:
                await answer.content(error_event(refusal))
                await answer.finish(ERROR, None)
            else:
                await answer.refuse(refusal)
            return Outcome.ENGINE_ERROR
        finally:
            watcher.cancel()
            exchange.abort()

    async def _relay(self, call: Call, answer: SealedAnswer, exchange: EngineExchange) -> Outcome:
        head = await exchange.head()
        media_type = head.content_type.partition(";")[0].strip().lower()
        if head.status == _OK and media_type == "text/event-stream" and call.stream:
            return await self._stream(answer, exchange)
        if media_type != JSON.decode() or head.status in _REDIRECTS:
            raise EngineBroke("The engine's answer is of no kind that is passed on.")
        return await self._collect(call, answer, exchange, head.status)

    async def _stream(self, answer: SealedAnswer, exchange: EngineExchange) -> Outcome:
        observer = Observer()
        await answer.start(_OK, EVENTS)
        while data := await exchange.read():
            if answer.sent + 2 * len(data) + _RESERVE > self._limits.response_bytes:
                raise AnswerTooLarge("The engine's answer is too large.")
            observer.feed_events(data)
            await answer.content(data)
        finish = observer.finish or ERROR
        await answer.finish(finish, observer.usage)
        return Outcome.ENGINE_ERROR if finish == ERROR else Outcome.OK

    async def _collect(self, call: Call, answer: SealedAnswer, exchange: EngineExchange, status: int) -> Outcome:
        pieces, total = [], 0
        while data := await exchange.read():
            pieces.append(data)
            total += len(data)
            if total > self._limits.collected_bytes:
                raise AnswerTooLarge("The engine's answer is too large.")
        document = b"".join(pieces)
        observer = Observer()
        observer.feed_document(document)
        finish = observer.finish or (ERROR if call.route.kind in _GENERATING else COMPLETE)
        if status >= _CLIENT_ERROR:
            finish = ERROR
        await answer.whole(status, JSON, document, finish=finish, usage=observer.usage)
        return Outcome.ENGINE_ERROR if finish == ERROR else Outcome.OK

    async def _report_fault(self, error: Exception, answer: SealedAnswer, kind: RouteClass) -> None:
        """Answer for a fault of our own: sealed where nothing was sent, a cut stream otherwise."""
        log.emit("internal_error", level=logging.ERROR, error=type(error).__name__)
        self._metrics.count(Outcome.INTERNAL, kind)
        if answer.started:
            raise error
        await answer.refuse(RequestRefused(500, "internal_error", "The enclave failed to handle this request."))


def _decode(plaintext: bytes) -> Request | RequestRefused:
    try:
        return decode_inner(plaintext)
    except RequestRefused as refusal:
        return refusal


def _digest(inner: Request | RequestRefused, plaintext: bytes) -> bytes:
    if isinstance(inner, RequestRefused):
        digest, content = RequestDigest(b"", b"", b"", b"", ()), plaintext
    else:
        digest = RequestDigest(inner.method, inner.scheme, inner.authority, inner.path, inner.headers)
        content = inner.content
    digest.update(content)
    return digest.digest()


async def _abort_when_gone(receive: Receive, exchange: EngineExchange) -> None:
    """Return once the client has closed its connection, and the engine's with it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.abort()


def _refusal_for(error: EngineError) -> RequestRefused:
    if isinstance(error, EngineUnreachable):
        return RequestRefused(503, "engine_unavailable", "The engine is not running; try again later.")
    if isinstance(error, EngineTimeout):
        return RequestRefused(504, "engine_timeout", "The engine stayed silent for too long.")
    return RequestRefused(502, "engine_failed", "The engine stopped before the answer was complete.")
