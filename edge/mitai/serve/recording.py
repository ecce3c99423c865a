"""Write plain requests into a ledger: a row before the first byte leaves, its end whatever comes of it.

Spec: `docs/spec/serve.md` §4.5. A commit waits for the disk, so it happens in a thread.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from mitai.answering.answer import receipt_record
from mitai.disclosure import Disclosure, DisclosureOutcome
from mitai.enclave import ChatStream
from mitai.errors import IncompleteAnswer, PlaintextRefused
from mitai.serve.problems import BAD_REQUEST

if TYPE_CHECKING:
    from mitai.answering.answer import Ledger
    from mitai.disclosure import Outgoing
    from mitai.transport.sending import SealedAnswer

ENGINE_FAILED = "error"  # `finish` of a receipt, `docs/spec/http.md` §5


class DisclosureRow:
    """The rows of one plain request; only the last one is open."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._open: int | None = None

    async def begin(self, outgoing: Outgoing) -> None:
        """Commit a row; the one before it, if any, was a sealing that had to be done again."""
        await self._end(DisclosureOutcome.RESENT, None)
        self._open = await to_thread.run_sync(self._ledger.begin_disclosure, Disclosure(outgoing))

    async def end(self, answer: SealedAnswer | None, error: BaseException | None) -> None:
        """Note how the request ended; a cancelled task does so, too."""
        outcome = _outcome(answer, error)
        receipt = receipt_record(ChatStream(answer)) if answer is not None else None
        with anyio.CancelScope(shield=True):
            await self._end(outcome, receipt)

    async def _end(self, outcome: DisclosureOutcome, receipt: str | None) -> None:
        number, self._open = self._open, None
        if number is not None and outcome is not DisclosureOutcome.UNKNOWN:
            await to_thread.run_sync(self._ledger.complete_disclosure, number, receipt, outcome)


def _outcome(answer: SealedAnswer | None, error: BaseException | None) -> DisclosureOutcome:
    if answer is not None and answer.receipt is not None:  # whole, also if the client stopped reading at [DONE]
        if answer.status >= BAD_REQUEST:
            return DisclosureOutcome.REFUSED
        failed = answer.receipt.finish == ENGINE_FAILED
        return DisclosureOutcome.INCOMPLETE if failed else DisclosureOutcome.COMPLETE
    if isinstance(error, IncompleteAnswer):
        return DisclosureOutcome.INCOMPLETE
    if isinstance(error, PlaintextRefused):
        return DisclosureOutcome.REFUSED
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return DisclosureOutcome.CLOSED
    return DisclosureOutcome.UNKNOWN  # the row says so since it was begun
