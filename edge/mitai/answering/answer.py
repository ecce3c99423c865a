"""Ask private documents: retrieve, pack, write down what leaves, stream the answer, check it.

    stream = ask(knowledge_base, "How many days of leave do I have?", enclave)
    for text in stream:
        print(text, end="")
    for sentence in stream.answer.sentences:
        print(sentence.support, sentence.citation)

Spec: `docs/spec/answering.md`.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from mitai.answering.cite import CheckedSentence, Citation, Support, cite
from mitai.answering.prompt import Quotable, estimate_tokens, pack
from mitai.disclosure import Disclosure, DisclosureOutcome, Outgoing
from mitai.errors import ContextTooLong, EnclaveRefused, IncompleteAnswer, PlaintextRefused
from mitai.receipt_record import ReceiptRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from mitai.chat import ChatMessage
    from mitai.enclave import ChatStream, EnclaveClient
    from mitai_crypto.receipt import Receipt

DEFAULT_PASSAGES: Final = 8
DEFAULT_ANSWER_TOKENS: Final = 256
ASSUMED_CONTEXT_TOKENS: Final = 4096  # where the engine names no context length
NOTHING_FOUND: Final = {
    "en": "No passage of this knowledge base bears on the question. Nothing was sent.",
    "zh": "知识库中没有与该问题相关的内容。未发送任何内容。",
}
WEAK_NOTE: Final = {
    "en": "Most of this answer was not found in the passages. Check it against the documents.",
    "zh": "此回答的大部分内容未能在所引文段中找到，请对照原文核实。",
}


class Grounding(StrEnum):
    """How well an answer rests on the passages that were sent."""

    NONE = "none"
    """Retrieval found nothing, so nothing was sent and no model answered."""
    WEAK = "weak"
    """Fewer than half of the sentences that state something were found, or none states anything."""
    SUPPORTED = "supported"


class Ledger(Protocol):
    """Where a knowledge base writes down what left the device."""

    def begin_disclosure(self, disclosure: Disclosure) -> int:
        """Commit a row with outcome ``unknown`` and return its id; the row is on disk when this returns."""

    def complete_disclosure(self, disclosure_id: int, receipt_json: str | None, outcome: DisclosureOutcome) -> None:
        """Add to a row how the exchange ended."""


class Corpus(Protocol):
    """What `ask` needs of a knowledge base; `mitai.KnowledgeBase` is one."""

    @property
    def ledger(self) -> Ledger:
        """Return the disclosure ledger."""

    def search(self, query: str, *, k: int) -> Sequence[Quotable]:
        """Return at most `k` passages, best first."""


@dataclass(frozen=True)
class Answer:
    """A whole answer and what is known about it.

    Attributes:
        question: What was asked.
        text: What the model said, or that nothing was found.
        sentences: The text sentence by sentence, each with the place that supports it or without.
        grounding: How well the text rests on the passages.
        context: The passages that were sent, in rank order.
        left_out: How many retrieved passages did not fit.
        finish: Why the model stopped, by the receipt; ``length`` means that it was cut at `max_tokens`.
        receipt: The enclave's verified receipt; None where nothing was sent.
        disclosure_id: The row of the ledger; None where nothing was sent.
        measurement: The measurement of the enclave that answered, hexadecimal; empty where nothing was sent.
        simulated: Whether its evidence is of a simulated TEE, which protects nothing.
    """

    question: str = field(repr=False)
    text: str = field(repr=False)
    sentences: tuple[CheckedSentence, ...] = field(repr=False)
    grounding: Grounding
    context: tuple[Quotable, ...] = field(repr=False)
    left_out: int
    finish: str | None
    receipt: Receipt | None
    disclosure_id: int | None
    measurement: str
    simulated: bool

    @property
    def citations(self) -> tuple[Citation, ...]:
        """Return the places that support the answer, each once, in the order of the text."""
        found = [sentence.citation for sentence in self.sentences if sentence.citation]
        return tuple({(c.passage_id, c.start, c.end): c for c in reversed(found)}.values())[::-1]

    @property
    def unsupported(self) -> tuple[CheckedSentence, ...]:
        """Return the sentences that were not found in the passages."""
        return tuple(sentence for sentence in self.sentences if sentence.support is Support.UNSUPPORTED)

    @property
    def note(self) -> str | None:
        """Return what a reader must know about weak evidence, in the question's language."""
        return WEAK_NOTE[language(self.question)] if self.grounding is Grounding.WEAK else None


def ask(
    corpus: Corpus,
    question: str,
    enclave: EnclaveClient,
    *,
    k: int = DEFAULT_PASSAGES,
    model: str | None = None,
    max_tokens: int = DEFAULT_ANSWER_TOKENS,
    temperature: float = 0.0,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> AnswerStream:
    """Prepare an answer to `question`; nothing of it leaves the device before the first piece is taken.

    Args:
        corpus: The knowledge base.
        question: In any language.
        enclave: Who answers.
        k: How many passages to retrieve.
        model: A served name; the attested model if none is given.
        max_tokens: The longest answer.
        temperature: 0 for the likeliest answer.
        count_tokens: How the engine counts tokens, or a careful estimate.

    Raises:
        ContextTooLong: The question, or every passage beside it, is too long for the model.
        MitaiError: What searching or asking the enclave for its context length raises.
    """
    passages = corpus.search(question, k=k)
    if not passages:
        return AnswerStream(corpus.ledger, question)
    context_tokens = enclave.context_tokens(model) or ASSUMED_CONTEXT_TOKENS
    packed = pack(
        question,
        passages,
        context_tokens=context_tokens,
        answer_tokens=max_tokens,
        count_tokens=count_tokens,
    )

    def send(before_send: Callable[[Outgoing], None]) -> ChatStream:
        return enclave.chat(
            packed.messages,
            model=model,
            max_tokens=max_tokens,
            temperature=temperature,
            before_send=before_send,
            # One size for all questions to this model, whatever was found (docs/spec/sizes.md §1).
            padding=enclave.padding.for_prompt(context_tokens - max_tokens),
        )

    return AnswerStream(
        corpus.ledger,
        question,
        messages=packed.messages,
        context=packed.passages,
        left_out=packed.left_out,
        send=send,
    )


def language(question: str) -> str:
    """Return ``zh`` for a question with Han characters, else ``en``: for the library's own words."""
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in question) else "en"


class AnswerStream:
    """An answer on its way: iterate it for pieces of text, then take `answer`.

    Attributes:
        messages: What will leave the device, or has left it; empty where retrieval found nothing.
        context: The passages in it, in rank order.
        left_out: How many retrieved passages did not fit.
    """

    def __init__(
        self,
        ledger: Ledger,
        question: str,
        *,
        messages: tuple[ChatMessage, ...] = (),
        context: tuple[Quotable, ...] = (),
        left_out: int = 0,
        send: Callable[[Callable[[Outgoing], None]], ChatStream] | None = None,
    ) -> None:
        self.messages: Final = messages
        self.context: Final = context
        self.left_out: Final = left_out
        self._question = question
        self._rows = _Rows(ledger, tuple(passage.passage_id for passage in context))
        self._send = send
        self._answer: Answer | None = None
        self._pieces = self._stream(send) if send else self._nothing()

    def __repr__(self) -> str:
        return f"<AnswerStream with {len(self.context)} passages>"

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
    def answer(self) -> Answer:
        """Return the whole answer; what was not read yet is read now.

        Raises:
            IncompleteAnswer: The stream was closed, or broke off.
        """
        for _ in self._pieces:
            pass
        if self._answer is None:
            raise IncompleteAnswer("There is no whole answer: the stream was closed or broke off.")
        return self._answer

    @property
    def disclosure_id(self) -> int | None:
        """Return the row of the ledger, once something was about to leave."""
        return self._rows.current

    def close(self) -> None:
        """Stop reading; the ledger's row says that the reader stopped."""
        self._pieces.close()

    def _nothing(self) -> Generator[str, None, None]:
        text = NOTHING_FOUND[language(self._question)]
        self._answer = Answer(
            question=self._question,
            text=text,
            sentences=(),
            grounding=Grounding.NONE,
            context=(),
            left_out=0,
            finish=None,
            receipt=None,
            disclosure_id=None,
            measurement="",
            simulated=False,
        )
        yield text

    def _stream(self, send: Callable[[Callable[[Outgoing], None]], ChatStream]) -> Generator[str, None, None]:
        pieces: list[str] = []
        with self._rows:
            with send(self._rows.begin) as stream:
                self._rows.stream = stream
                for text in stream:
                    pieces.append(text)
                    yield text
            self._rows.complete()
        self._answer = self._check("".join(pieces), stream)

    def _check(self, text: str, stream: ChatStream) -> Answer:
        sentences = cite(text, self.context)
        return Answer(
            question=self._question,
            text=text,
            sentences=sentences,
            grounding=_grounding(sentences),
            context=self.context,
            left_out=self.left_out,
            finish=stream.finish,
            receipt=stream.receipt,
            disclosure_id=self._rows.current,
            measurement=stream.attestation.measurement,
            simulated=stream.attestation.simulated,
        )


class _Rows:
    """The ledger's rows of one question: begun before anything leaves, ended with whatever comes of it.

    Attributes:
        stream: The answer, once it began.
        current: The latest row.
    """

    def __init__(self, ledger: Ledger, passage_ids: tuple[int, ...]) -> None:
        self._ledger = ledger
        self._passage_ids = passage_ids
        self._open = False
        self.stream: ChatStream | None = None
        self.current: int | None = None

    def begin(self, outgoing: Outgoing) -> None:
        """Commit a row; the one before it, if any, was a sealing that had to be done again."""
        self._end(DisclosureOutcome.RESENT)
        self.current = self._ledger.begin_disclosure(Disclosure(outgoing, self._passage_ids))
        self._open = True

    def complete(self) -> None:
        """Note a whole answer with its receipt."""
        self._end(DisclosureOutcome.COMPLETE)

    def __enter__(self) -> None:
        """Start watching what comes of the question."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, IncompleteAnswer):
            self._end(DisclosureOutcome.INCOMPLETE)
        elif isinstance(error, EnclaveRefused | PlaintextRefused | ContextTooLong):
            self._end(DisclosureOutcome.REFUSED)
        elif isinstance(error, GeneratorExit | KeyboardInterrupt | CancelledError):
            self._end(DisclosureOutcome.CLOSED)
        # Anything else leaves the outcome unknown, and the row says so since it was begun.

    def _end(self, outcome: DisclosureOutcome) -> None:
        if self._open and self.current is not None:
            self._open = False
            receipt = receipt_record(self.stream) if self.stream else None
            self._ledger.complete_disclosure(self.current, receipt, outcome)


def receipt_record(stream: ChatStream) -> str | None:
    """Return a whole answer's receipt as the ledger keeps it (`docs/spec/ledger.md` §2)."""
    if stream.receipt is None or stream.signed_receipt is None:
        return None
    return ReceiptRecord.of(stream.receipt, stream.signed_receipt).encode()


def _grounding(sentences: tuple[CheckedSentence, ...]) -> Grounding:
    supported = sum(sentence.support is Support.SUPPORTED for sentence in sentences)
    unsupported = sum(sentence.support is Support.UNSUPPORTED for sentence in sentences)
    return Grounding.SUPPORTED if supported and supported >= unsupported else Grounding.WEAK
