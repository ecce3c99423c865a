"""How does a request that a program composed get into the ledger? (`docs/spec/langchain.md` §4)."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from mitai.disclosure import Disclosure, DisclosureOutcome
from mitai.errors import ContextTooLong, EnclaveRefused, IncompleteAnswer, PlaintextRefused
from mitai.receipt_record import ReceiptRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from mitai.disclosure import Outgoing
    from mitai.knowledge_base import KnowledgeBase
    from mitai.transport.sending import SealedAnswer


class Recording:
    """The ledger's rows of one request: begun before anything leaves, ended with whatever comes of it.

    Args:
        knowledge_base: Whose ledger; None keeps none.
        before_send: Is shown the same, after the row is on disk; if it raises, nothing leaves.

    Attributes:
        answer: The answer, once it began.
        current: The latest row.
    """

    def __init__(
        self, knowledge_base: KnowledgeBase | None, before_send: Callable[[Outgoing], None] | None = None
    ) -> None:
        self.answer: SealedAnswer | None = None
        self.current: int | None = None
        self._knowledge_base = knowledge_base
        self._before_send = before_send
        self._open = False

    def begin(self, outgoing: Outgoing) -> None:
        """Commit a row; the one before it, if any, was a sealing that had to be done again."""
        if self._knowledge_base is not None:
            self._end(DisclosureOutcome.RESENT)
            passages = self._knowledge_base.passages_within(message_text(outgoing.text))
            self.current = self._knowledge_base.ledger.begin_disclosure(Disclosure(outgoing, passages))
            self._open = True
        if self._before_send is not None:
            self._before_send(outgoing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end(DisclosureOutcome.COMPLETE)
        elif isinstance(error, IncompleteAnswer):
            self._end(DisclosureOutcome.INCOMPLETE)
        elif isinstance(error, EnclaveRefused | PlaintextRefused | ContextTooLong):
            self._end(DisclosureOutcome.REFUSED)
        elif isinstance(error, GeneratorExit | KeyboardInterrupt | asyncio.CancelledError):
            self._end(DisclosureOutcome.CLOSED)
        # Anything else leaves the outcome unknown, and the row says so since it was begun.

    def _end(self, outcome: DisclosureOutcome) -> None:
        if self._open and self.current is not None and self._knowledge_base is not None:
            self._open = False
            self._knowledge_base.ledger.complete_disclosure(self.current, receipt_record(self.answer), outcome)


def receipt_record(answer: SealedAnswer | None) -> str | None:
    """Return a whole answer's receipt as the ledger keeps it."""
    if answer is None or answer.receipt is None:
        return None
    return ReceiptRecord.of(answer.receipt, answer.signed_receipt.decode("ascii")).encode()


def message_text(body: str) -> str:
    """Return the text of all messages of a request's body, in which stored passages are looked for."""
    contents = [message.get("content") for message in json.loads(body)["messages"]]
    return "\n\n".join(content for content in contents if isinstance(content, str))
