"""The hot path: a sealed request in, a sealed answer out (`docs/spec/http.md` §3 and §5)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from typing import TYPE_CHECKING, Final

from mitai_crypto.receipt import RequestDigest
from mitai_enclave import log, problems
from mitai_enclave.account import Account
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
from mitai_enclave.intake import read_request, verify_envelope
from mitai_enclave.metrics import Outcome
from mitai_enclave.observe import COMPLETE, ERROR, Observer
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.replica import Candidate
from mitai_enclave.routes import RouteClass

if TYPE_CHECKING:
    from mitai_crypto.bhttp import Request
    from mitai_crypto.kem import PrivateKey
    from mitai_crypto.ohttp import KeyConfig, OpenedRequest
    from mitai_enclave.address import EngineAddress
    from mitai_enclave.asgi import Receive, Scope, Send
    from mitai_enclave.attestation import Identity
    from mitai_enclave.config import Limits
    from mitai_enclave.inner import Call, Rules
    from mitai_enclave.replica import OpeningKey, Recorder, Replica
    from mitai_enclave.slots import Slot
    from mitai_enclave.tracing import Tracing
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
        replica: Keys, slots and admission.
        engine: Where requests go.
        identity: Signs receipts.
        rules: What requests are checked against.
        limits: The caps.
        metrics: Counts how requests end.
        tracing: Traces them.
    """

    def __init__(
        self,
        *,
        replica: Replica,
        engine: EngineAddress,
        identity: Identity,
        rules: Rules,
        limits: Limits,
        metrics: Recorder,
        tracing: Tracing,
    ) -> None:
        self._replica = replica
        self._connections = Connections(engine)
        self._identity = identity
        self._rules = rules
        self._limits = limits
        self._metrics = metrics
        self._tracing = tracing

    async def serve(self, scope: Scope, receive: Receive, send: Send, fingerprint: str | None) -> None:
        """Answer one request on a gateway path.

        Args:
            scope: ASGI's scope.
            receive: ASGI's receive.
            send: ASGI's send.
            fingerprint: The only key that may open it, where the path names one.
        """
        account = Account(self._metrics, self._tracing.begin())
        try:
            key, opened = await self._open(scope, receive, fingerprint)
            account.opened()
            await self._answer(key, opened, receive, send, account)
        except PublicRefusal as refusal:
            unopened = refusal.problem is problems.UNOPENED
            account.end(Outcome.UNOPENED if unopened else Outcome.REJECTED)
            await refusal.problem.send(send)
        except ClientGone:
            account.end(Outcome.ABORTED)

    async def _open(self, scope: Scope, receive: Receive, fingerprint: str | None) -> tuple[OpeningKey, OpenedRequest]:
        """Take steps 1 to 5."""
        opener = verify_envelope(scope, self._limits.request_bytes)
        used: OpeningKey | None = None

        def lookup(key_id: int) -> tuple[KeyConfig, PrivateKey] | None:
            nonlocal used
            found = self._replica.find(key_id)
            if found is None or fingerprint not in {None, found.config.fingerprint}:
                return None
            used = found
            return found.config, found.private

        with await self._replica.begin_reading():
            await self._replica.prepare()
            opened = await read_request(receive, opener(lookup, self._limits.request_bytes), self._limits)
        if used is None:
            raise PublicRefusal(problems.UNOPENED)
        return used, opened

    async def _answer(
        self, key: OpeningKey, opened: OpenedRequest, receive: Receive, send: Send, account: Account
    ) -> None:
        """Take steps 6 to 15."""
        inner = _decode(opened.plaintext)
        exchange = Exchange(opened, _digest(inner, opened.plaintext), key.epoch)
        answer = SealedAnswer(send, exchange, self._identity)
        try:
            call, slot = await self._admit(inner, key, opened)
        except KeyExpired:
            raise PublicRefusal(problems.UNOPENED) from None
        except RequestRefused as refusal:
            account.end(_OUTCOMES.get(refusal.code, Outcome.REFUSED))
            await answer.refuse(refusal)
            return
        except Exception as error:  # noqa: BLE001 - reported, and answered with a sealed 500
            account.end(Outcome.INTERNAL)
            await _report_fault(error, answer)
            return
        answer.padded = call.sizes.padded
        account.handed_over()
        kind = call.route.kind
        with slot:
            try:
                account.end(await self._forward(call, answer, receive), kind)
            except ClientGone:
                raise
            except Exception as error:  # noqa: BLE001 - the same, or raised again
                account.end(Outcome.INTERNAL, kind)
                await _report_fault(error, answer)

    async def _admit(
        self, inner: Request | RequestRefused, key: OpeningKey, opened: OpenedRequest
    ) -> tuple[Call, Slot]:
        """Take steps 6 to 14; the last two are one atomic step of the replica."""
        if isinstance(inner, RequestRefused):
            raise inner
        call = check_request(inner, self._rules, time.time())
        enc = hashlib.sha256(opened.enc).digest()
        return call, await self._replica.admit(Candidate(key.epoch, enc, call.principal, call.request_id))

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
        answer.is_gone = watcher.done
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
            if answer.streams:
                return await self._stream(call, answer, exchange)
            return await self._collect(call, answer, exchange, head.status, EVENTS)
        if media_type != JSON.decode() or head.status in _REDIRECTS:
            raise EngineBroke("The engine's answer is of no kind that is passed on.")
        return await self._collect(call, answer, exchange, head.status, JSON)

    async def _stream(self, call: Call, answer: SealedAnswer, exchange: EngineExchange) -> Outcome:
        observer = Observer()
        await answer.start(_OK, EVENTS)
        async with answer.pace(call.sizes.cadence):
            while data := await exchange.read():
                if answer.size + 2 * len(data) + _RESERVE > self._limits.response_bytes:
                    raise AnswerTooLarge("The engine's answer is too large.")
                observer.feed_events(data)
                await answer.content(data)
        finish = observer.finish or ERROR
        await answer.finish(finish, observer.usage)
        return Outcome.ENGINE_ERROR if finish == ERROR else Outcome.OK

    async def _collect(
        self, call: Call, answer: SealedAnswer, exchange: EngineExchange, status: int, kind: bytes
    ) -> Outcome:
        pieces, total = [], 0
        while data := await exchange.read():
            pieces.append(data)
            total += len(data)
            if total > self._limits.collected_bytes:
                raise AnswerTooLarge("The engine's answer is too large.")
        document = b"".join(pieces)
        observer = Observer()
        feed = observer.feed_events if kind is EVENTS else observer.feed_document
        feed(document)
        finish = observer.finish or (ERROR if call.route.kind in _GENERATING else COMPLETE)
        if status >= _CLIENT_ERROR:
            finish = ERROR
        await answer.whole(status, kind, document, finish=finish, usage=observer.usage)
        return Outcome.ENGINE_ERROR if finish == ERROR else Outcome.OK


async def _report_fault(error: Exception, answer: SealedAnswer) -> None:
    """Answer for a fault of our own: sealed where nothing was sent, a cut stream otherwise."""
    log.emit("internal_error", level=logging.ERROR, error=type(error).__name__)
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
