"""Talk to one verified enclave: check it, list its models, chat with one of them.

Spec: `docs/spec/client.md` §7. For other clients there are the sealed transports in `mitai.transport`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx2

from mitai.errors import ContextTooLong, EnclaveRefused, IncompleteAnswer
from mitai.padding import PADDED, Padding
from mitai.transport._httpx2 import SyncWire
from mitai.transport.event_stream import DONE, EventReader
from mitai.transport.exchange import PlainRequest
from mitai.transport.raw import RawWire
from mitai.transport.sending import SealedAnswer, Sender
from mitai.transport.session import Session, checked_url, fetch_evidence
from mitai.transport.wire import ThreadGate, run_now

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from mitai.chat import ChatMessage
    from mitai.disclosure import Outgoing
    from mitai_crypto.policy import TrustPolicy
    from mitai_crypto.receipt import Receipt, Usage
    from mitai_crypto.saved_evidence import SavedEvidence
    from mitai_crypto.verify import AttestationResult

CHAT_PATH: Final = b"/v1/chat/completions"
MODELS_PATH: Final = b"/v1/models"
DEFAULT_TIMEOUT_SECONDS: Final = 600.0  # between two pieces of an answer; a long prompt is silent for long
CONNECT_TIMEOUT_SECONDS: Final = 10.0
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_ENGINE_FAILED: Final = "error"  # `finish` of a receipt, `docs/spec/http.md` §5
_TOO_LONG_CODE: Final = "context_length_exceeded"
_TOO_LONG_WORDS: Final = "maximum context length"  # how vLLM says it; it gives no code
_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class ModelInfo:
    """A model that the enclave serves.

    Attributes:
        name: What to put into `model`.
        context_tokens: Its context length, where the engine names it.
    """

    name: str
    context_tokens: int | None


class EnclaveClient:
    """One enclave that must pass one trust policy before anything is sent to it.

        with EnclaveClient(url, policy=policy, token=token) as enclave:
            for text in enclave.chat([{"role": "user", "content": "Hello"}]):
                print(text, end="")

    It may be used from several threads.

    Args:
        url: Where the enclave answers.
        policy: What it must prove.
        token: The access token.
        timeout: Seconds of silence after which an answer counts as broken off.
        padding: What the sizes on the wire may show.
        transport: Carries the sealed bytes instead of plain sockets; for proxies, certificates and Unix sockets.

    Attributes:
        url: Where the enclave answers.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: TrustPolicy,
        token: str,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
        padding: Padding = PADDED,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        session = Session(url, policy, gate=ThreadGate())
        self.url: Final = session.url
        self._wire = RawWire(session.url) if transport is None else SyncWire(session.url, transport)
        self._sender = Sender(session, self._wire, token=token, padding=padding)
        self._timeouts: dict[str, float | None] = {
            "connect": CONNECT_TIMEOUT_SECONDS,
            "read": timeout,
            "write": timeout,
            "pool": timeout,
        }
        self._models: tuple[ModelInfo, ...] = ()

    def __repr__(self) -> str:
        return f"<EnclaveClient {self.url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def attestation(self) -> AttestationResult | None:
        """Return what is verified of the enclave right now; None where it has to be verified first, or again."""
        kept = self._sender.session.current()
        return None if kept is None else kept.attestation

    def close(self) -> None:
        """Close the connections."""
        self._wire.close()

    @property
    def padding(self) -> Padding:
        """Return what the sizes on the wire may show."""
        return self._sender.padding

    @property
    def evidence(self) -> SavedEvidence | None:
        """Return the latest evidence that was fetched, exactly, whether it verified or not."""
        return self._sender.session.evidence

    def verify(self) -> AttestationResult:
        """Fetch evidence of this moment and check it; later requests rest on it while it lasts.

        Raises:
            EnclaveUnreachable: There is no evidence to be had.
            VerificationFailed: A step failed; the error holds the report.
        """
        return run_now(self._sender.verify(self._timeouts, fresh=True))

    def models(self) -> tuple[ModelInfo, ...]:
        """Ask for the models that the enclave serves.

        Raises:
            MitaiError: As for `chat`.
        """
        answer = self._send(PlainRequest(b"GET", MODELS_PATH, ()))
        body = _whole(answer)
        entries = body.get("data")
        found: list[ModelInfo] = []
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and isinstance(name := entry.get("id"), str):
                length = entry.get("max_model_len")
                found.append(ModelInfo(name, length if isinstance(length, int) and length > 0 else None))
        self._models = tuple(found)
        return self._models

    def context_tokens(self, model: str | None = None) -> int | None:
        """Return the context length of `model`, or of the attested one; None where the engine names none.

        Raises:
            MitaiError: As for `chat`; the models are asked for once.
        """
        wanted = model or self._attested_model()
        known = {entry.name: entry.context_tokens for entry in self._models or self.models()}
        return known.get(wanted)

    def chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        temperature: float = 0.0,
        before_send: Callable[[Outgoing], None] | None = None,
        padding: Padding | None = None,
    ) -> ChatStream:
        """Send messages and return the answer, which streams.

        Args:
            messages: The conversation, each with `role` and `content`.
            model: A served name; the attested model if none is given.
            max_tokens: The longest answer.
            temperature: 0 for the likeliest answer.
            before_send: Called once the enclave is verified and the request is sealed, before its first byte
                leaves; if it raises, nothing leaves. It is called again before a resend.
            padding: What the sizes of this exchange may show, instead of the client's own.

        Raises:
            EnclaveUnreachable: Nothing answers.
            VerificationFailed: The enclave is not what the policy wants; nothing was sent.
            PlaintextRefused: Something answered outside the seal.
            EnclaveRefused: The enclave refused the request.
            ContextTooLong: The messages are longer than the model's context.
            IncompleteAnswer: The answer broke off before it began.
        """
        body: dict[str, object] = {
            "model": model or self._attested_model(),
            "messages": list(messages),
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if max_tokens is not None:
            body["max_tokens"] = max_tokens
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        plain = PlainRequest(b"POST", CHAT_PATH, _JSON_HEADERS, content)
        return ChatStream(self._send(plain, before_send, padding))

    def _attested_model(self) -> str:
        return run_now(self._sender.verify(self._timeouts)).material.model_name

    def _send(
        self, plain: PlainRequest, before_send: Callable[[Outgoing], None] | None = None, padding: Padding | None = None
    ) -> SealedAnswer:
        sending = self._sender.send(plain, timeouts=self._timeouts, before_send=before_send, padding=padding)
        answer = run_now(sending)
        if answer.status != _OK:
            raise _refusal(answer)
        return answer


def fetch_evidence_unchecked(url: str) -> SavedEvidence:
    """Ask for evidence with a fresh nonce, without a policy; nothing of it is verified.

    Raises:
        EnclaveUnreachable: There is none to be had.
    """
    url = checked_url(url)
    timeouts: dict[str, float | None] = dict.fromkeys(("connect", "read", "write", "pool"), CONNECT_TIMEOUT_SECONDS)
    with httpx2.HTTPTransport() as transport:
        return run_now(fetch_evidence(SyncWire(url, transport), url, timeouts=timeouts, clock=time.time))


class ChatStream:
    """An answer as it comes: iterate it for pieces of text; it is whole when that ends without an error.

    Attributes:
        attestation: What was verified of the enclave that answers.
    """

    def __init__(self, answer: SealedAnswer) -> None:
        self.attestation: Final = answer.attestation
        self._answer = answer
        self._pieces = self._read()

    def __iter__(self) -> Iterator[str]:
        return self._pieces

    def __next__(self) -> str:
        return next(self._pieces)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def receipt(self) -> Receipt | None:
        """Return the verified receipt, once the answer is whole."""
        return self._answer.receipt

    @property
    def signed_receipt(self) -> str | None:
        """Return the receipt as the enclave signed it, once the answer is whole."""
        return self._answer.signed_receipt.decode("ascii") if self._answer.receipt else None

    @property
    def usage(self) -> Usage | None:
        """Return the token counts of the receipt."""
        return self._answer.receipt.usage if self._answer.receipt else None

    @property
    def finish(self) -> str | None:
        """Return why the answer ended, by the receipt: ``stop``, ``length``, …."""
        return self._answer.receipt.finish if self._answer.receipt else None

    def close(self) -> None:
        """Stop reading; the enclave aborts the generation."""
        self._pieces.close()
        run_now(self._answer.close())

    def _read(self) -> Generator[str, None, None]:
        events = EventReader()
        failed = False
        while piece := run_now(self._answer.read()):
            for data in events.feed(piece):
                event = _parse_event(data)
                failed = failed or "error" in event
                if text := _delta_text(event):
                    yield text
        if failed or self.finish == _ENGINE_FAILED:
            raise IncompleteAnswer("The engine broke off while it was answering.")


def _parse_event(data: str) -> dict[str, object]:
    if data == DONE:
        return {}
    try:
        event = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IncompleteAnswer("The enclave sent an event that is not JSON.") from error
    return event if isinstance(event, dict) else {}


def _delta_text(event: dict[str, object]) -> str:
    """Return the text that an event adds to the first choice."""
    choices = event.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    text = delta.get("content") if isinstance(delta, dict) else None
    # A lone surrogate is no text and could not be shown or stored.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(text, str) else ""


def _whole(answer: SealedAnswer) -> dict[str, object]:
    try:
        body = json.loads(run_now(answer.read_all()))
    except (ValueError, RecursionError) as error:
        raise IncompleteAnswer("The enclave sent an answer that is not JSON.") from error
    return body if isinstance(body, dict) else {}


def _refusal(answer: SealedAnswer) -> EnclaveRefused | ContextTooLong:
    try:
        return refusal_error(answer.status, _whole(answer))
    finally:
        run_now(answer.close())


def refusal_error(status: int, body: dict[str, object]) -> EnclaveRefused | ContextTooLong:
    """Return the error for a sealed refusal. Its message is not repeated: engines quote the request in it."""
    error = body.get("error")
    told = error if isinstance(error, dict) else {}
    code, message = told.get("code"), told.get("message")
    if code == _TOO_LONG_CODE or (isinstance(message, str) and _TOO_LONG_WORDS in message):
        return ContextTooLong("The messages are longer than the model's context.")
    name = code if isinstance(code, str) else told.get("type")
    reason = f"{name}, status {status}" if isinstance(name, str) else f"status {status}"
    hint = "Check the access token." if status == _UNAUTHORIZED else None
    return EnclaveRefused(f"The enclave refused the request ({reason}).", status=status, hint=hint)
