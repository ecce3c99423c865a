"""Send one request through the sealed channel: which answers are believed, and what is ever sent twice.

Spec: `docs/spec/client.md` §1, §5 and §6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai.disclosure import Outgoing
from mitai.errors import DeliveryUnknown, EnclaveUnreachable, IncompleteAnswer, MitaiError, PlaintextRefused
from mitai.padding import PADDED
from mitai.transport.exchange import (
    FRAMING_HEADERS,
    Exchange,
    PlainRequest,
    imf_fixdate,
    inner_request,
    media_type,
    new_request_id,
    values,
)
from mitai.transport.session import is_coded
from mitai.transport.wire import OuterRequest, Timeouts
from mitai_crypto.labels import MEDIA_TYPE_REQUEST, MEDIA_TYPE_RESPONSE, PROBLEM_DATE, PROBLEM_OHTTP_KEY
from mitai_crypto.strict_json import parse_object

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from mitai.padding import Padding
    from mitai.transport.exchange import AnswerReader
    from mitai.transport.session import Session, Verified
    from mitai.transport.wire import OuterAnswer, Wire
    from mitai_crypto.bhttp import Field
    from mitai_crypto.receipt import Receipt
    from mitai_crypto.verify import AttestationResult

    BeforeSend: TypeAlias = Callable[[Outgoing], Awaitable[None] | None]

MAX_PROBLEM_BYTES: Final = 4096
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
_OK: Final = 200
_BAD_REQUEST: Final = 400
_OUTER_HEADERS: Final = (
    ("content-type", MEDIA_TYPE_REQUEST),
    ("accept-encoding", "identity"),
    ("incremental", "?1"),
)


class SealedAnswer:
    """An answer that streams: authentic from its first byte, whole only when `read` has returned nothing.

    Attributes:
        status: The inner status.
        headers: The inner fields, without those that described a framing.
        attestation: The verified evidence of the enclave that answers.
        request_digest: What the receipt names, 32 bytes.
    """

    def __init__(self, exchange: Exchange, outer: OuterAnswer) -> None:
        self.attestation: Final = exchange.attestation
        self.request_digest: Final = exchange.request_digest
        self.status = 0
        self.headers: tuple[Field, ...] = ()
        self._outer = outer
        self._reader: AnswerReader = exchange.answer()
        self._ready = b""
        self._ended = False
        self._failure: MitaiError | None = None

    @property
    def receipt(self) -> Receipt | None:
        """Return the verified receipt, once the answer is whole."""
        return self._reader.receipt

    @property
    def signed_receipt(self) -> bytes:
        """Return the receipt as the enclave signed it, once the answer is whole."""
        return self._reader.signed_receipt

    async def begin(self) -> None:
        """Read until status and fields are there.

        Raises:
            IncompleteAnswer: They never come, or are not of this exchange.
        """
        while self._reader.head is None and not self._ended:
            self._ready += await self._more()
        head = self._reader.head
        if head is None:
            raise IncompleteAnswer("The answer ended before it began.")
        self.status = head.status
        self.headers = tuple((name, value) for name, value in head.headers if name not in FRAMING_HEADERS)

    async def read(self) -> bytes:
        """Return the next content; nothing once the answer is whole and its receipt is verified.

        Raises:
            IncompleteAnswer: The answer is cut or damaged, or has no valid receipt; also on every later call.
        """
        if self._ready:
            ready, self._ready = self._ready, b""
            return ready
        while not self._ended:
            if piece := await self._more():
                return piece
        return b""

    async def read_all(self) -> bytes:
        """Return the rest of the content of a whole answer.

        Raises:
            IncompleteAnswer: As for `read`.
        """
        pieces: list[bytes] = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    def put_back(self, content: bytes) -> None:
        """Let the next `read` return `content` first."""
        self._ready = content

    async def close(self) -> None:
        """Stop; the connection is given up unless the answer was read to its end."""
        if not self._ended and self._failure is None:
            self._failure = IncompleteAnswer("The answer was closed before its end.")
        await self._outer.close()

    async def _more(self) -> bytes:
        """Return the content that the next bytes of the connection give, which may be none."""
        if self._failure is not None:
            raise self._failure
        try:
            data = await self._outer.read()
            if data:
                return self._reader.feed(data)
            rest = self._reader.close()
        except MitaiError as error:
            self._failure = _as_incomplete(error)
            await self._outer.close()
            if self._failure is error:
                raise
            raise self._failure from error
        self._ended = True
        await self._outer.close()
        return rest


@dataclass
class _Sending:
    """One intended execution and what was tried for it."""

    plain: PlainRequest
    request_id: bytes
    timeouts: Timeouts
    padding: Padding
    attempt: int = 0
    date: bytes | None = None
    key_replaced: bool = False


class Sender:
    """Sends requests of one client to one enclave.

    Args:
        session: What is known about the enclave.
        wire: Reaches it.
        token: The access token; without one the caller's own `authorization` goes.
        before_send: Is shown everything before it leaves, and may raise to keep it here. Over an asynchronous wire
            it may be a coroutine function: a ledger's commit must not hold up the event loop.
        padding: What sizes may show.

    Attributes:
        session: As given.
        padding: As given.
    """

    def __init__(
        self,
        session: Session,
        wire: Wire,
        *,
        token: str | None = None,
        before_send: BeforeSend | None = None,
        padding: Padding = PADDED,
    ) -> None:
        self.session: Final = session
        self.padding: Final = padding
        self._wire = wire
        self._token = token
        self._before_send = before_send

    def __repr__(self) -> str:
        return f"<Sender to {self.session.url}>"

    async def verify(self, timeouts: Timeouts, *, fresh: bool = False) -> AttestationResult:
        """Return what was verified of the enclave; with `fresh` by evidence of this moment."""
        replace = self.session.current() if fresh else None
        return (await self.session.verified(self._wire, timeouts=timeouts, replace=replace)).attestation

    async def send(
        self,
        plain: PlainRequest,
        *,
        timeouts: Timeouts,
        before_send: BeforeSend | None = None,
        padding: Padding | None = None,
    ) -> SealedAnswer:
        """Send a request and return its answer once status and fields arrived.

        Args:
            plain: What to send.
            timeouts: Seconds by phase.
            before_send: Instead of the client's own.
            padding: Instead of the client's own.

        Raises:
            EnclaveUnreachable: Nothing answers, or no evidence is served.
            VerificationFailed: The enclave is not what the policy wants; nothing was sent.
            PlaintextRefused: Something answered outside the seal.
            IncompleteAnswer: The answer broke off before it began.
        """
        sending = _Sending(plain, new_request_id(), timeouts, padding or self.padding)
        hook = before_send or self._before_send
        while True:
            enclave = await self.session.verified(self._wire, timeouts=timeouts)
            outer, exchange = await self._send_once(sending, enclave, hook)
            try:
                if _is_sealed(outer):
                    answer = await self._open(sending, outer, exchange)
                    if answer is not None:
                        return answer
                    continue
                await self._after_unsealed(sending, outer, enclave)
            except BaseException:  # the connection is given back whatever happens, also on cancellation
                await outer.close()
                raise
            await outer.close()

    async def _send_once(
        self, sending: _Sending, enclave: Verified, hook: BeforeSend | None
    ) -> tuple[OuterAnswer, Exchange]:
        now = self.session.clock()
        request = inner_request(
            sending.plain,
            token=self._token,
            request_id=sending.request_id,
            date=sending.date or imf_fixdate(now),
            padding=sending.padding,
        )
        exchange = Exchange(request, enclave.attestation, enclave.config, sending.padding)
        sending.attempt += 1
        if hook is not None and (written := hook(self._outgoing(sending, exchange, enclave, int(now)))) is not None:
            await written
        message = OuterRequest("POST", exchange.target, _OUTER_HEADERS, exchange.message, sending.timeouts)
        try:
            return await self._wire.send(message), exchange
        except EnclaveUnreachable as error:
            raise DeliveryUnknown(str(error)) from error

    async def _open(self, sending: _Sending, outer: OuterAnswer, exchange: Exchange) -> SealedAnswer | None:
        """Return the answer; None where it asks for another date and that was not tried yet."""
        answer = SealedAnswer(exchange, outer)
        await answer.begin()
        if (
            answer.status != _BAD_REQUEST
            or media_type(answer.headers) != PROBLEM_MEDIA_TYPE
            or sending.date is not None
        ):
            return answer
        body = await answer.read_all()
        dates = values(answer.headers, b"date")
        if _problem_type(body) != PROBLEM_DATE or len(dates) != 1:
            answer.put_back(body)
            return answer
        await answer.close()
        sending.date = dates[0]
        return None

    async def _after_unsealed(self, sending: _Sending, outer: OuterAnswer, enclave: Verified) -> None:
        """See to it that the session has another key; an unsealed answer can cause nothing else.

        Raises:
            PlaintextRefused: It is no key problem, there is no other key, or this was tried already.
        """
        if sending.key_replaced or not await _is_key_problem(outer):
            raise _refused(self.session.url, outer)
        sending.key_replaced = True
        fresh = await self.session.verified(self._wire, timeouts=sending.timeouts, replace=enclave)
        if fresh.config == enclave.config:
            raise _refused(self.session.url, outer)

    def _outgoing(self, sending: _Sending, exchange: Exchange, enclave: Verified, now: int) -> Outgoing:
        report = exchange.attestation.report
        return Outgoing(
            time=now,
            url=self.session.url,
            measurement=exchange.attestation.measurement,
            tee=exchange.attestation.tee.value,
            simulated=exchange.attestation.simulated,
            policy_name=report.policy_name,
            policy_digest=report.policy_digest,
            request_digest=exchange.request_digest.hex(),
            attempt=sending.attempt,
            text=sending.plain.content.decode("utf-8", "backslashreplace"),
            crypto_material=exchange.attestation.crypto_material_digest.hex(),
            evidence=enclave.evidence,
        )


def _is_sealed(outer: OuterAnswer) -> bool:
    return outer.status == _OK and _outer_media_type(outer) == MEDIA_TYPE_RESPONSE and not is_coded(outer)


def _outer_media_type(outer: OuterAnswer) -> str:
    found = outer.header("content-type")
    return found[0].partition(";")[0].strip().lower() if len(found) == 1 else ""


async def _is_key_problem(outer: OuterAnswer) -> bool:
    """Return whether an unsealed answer looks like a key problem; of its body only `type` is read."""
    if outer.status != _BAD_REQUEST or _outer_media_type(outer) != PROBLEM_MEDIA_TYPE or is_coded(outer):
        return False
    body = bytearray()
    try:
        while piece := await outer.read():
            body += piece
            if len(body) > MAX_PROBLEM_BYTES:
                return False
    except MitaiError:
        return False
    return _problem_type(bytes(body)) == PROBLEM_OHTTP_KEY


def _problem_type(body: bytes) -> object:
    try:
        return parse_object(body, max_bytes=MAX_PROBLEM_BYTES).get("type")
    except MitaiError:
        return None


def _refused(url: str, outer: OuterAnswer) -> PlaintextRefused:
    return PlaintextRefused(f"{url} answered outside the seal (status {outer.status}).")


def _as_incomplete(error: MitaiError) -> MitaiError:
    """Return the error of an answer whose connection broke."""
    return error if isinstance(error, IncompleteAnswer) else IncompleteAnswer(f"The answer is not whole: {error}")
