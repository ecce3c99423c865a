"""What does the keeper answer to one worker? It owns what there must be one of (`docs/spec/replicas.md` §1)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mitai_enclave import messages, problems
from mitai_enclave.channel import Channel
from mitai_enclave.errors import ChannelBroken, KeyExpired, RequestRefused
from mitai_enclave.messages import EvidenceProblem, SlotKind, ToKeeper, ToWorker
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.replica import Candidate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_enclave.replica import LocalReplica, Recorder
    from mitai_enclave.slots import Slot

MICROSECONDS: Final = 1_000_000


class WorkerSession:
    """The keeper's end of one worker's channel.

    Args:
        replica: What this process owns.
        metrics: Where the worker's counts go.
        welcome: The first message.
        on_end: Called when the channel is over, after everything that the worker held was given back.

    Attributes:
        ready: Set once the worker accepts connections.
        channel: To be opened by the caller.
    """

    def __init__(
        self,
        replica: LocalReplica,
        metrics: Recorder,
        welcome: messages.Welcome,
        on_end: Callable[[], None],
    ) -> None:
        self.ready = asyncio.Event()
        self.channel: Final = Channel[ToKeeper, ToWorker](
            messages.TO_KEEPER,
            messages.TO_WORKER,
            max_bytes=messages.MAX_TO_KEEPER,
            on_message=self._take,
            on_end=self._end,
        )
        self._replica = replica
        self._metrics = metrics
        self._welcome = welcome
        self._on_end = on_end
        self._slots: dict[SlotKind, list[Slot]] = {kind: [] for kind in SlotKind}
        self._tasks: set[asyncio.Task[None]] = set()

    def greet(self) -> None:
        """Send what the worker needs to know."""
        self.channel.send(self._welcome)

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for held in self._slots.values():
            for slot in held:
                slot.release()
            held.clear()
        self._on_end()

    def _take(self, message: ToKeeper) -> None:
        match message:
            case messages.Ready():
                self.ready.set()
            case messages.Release(kind):
                if not self._slots[kind]:
                    raise ChannelBroken("A slot was given back that was not held.")
                self._slots[kind].pop().release()
            case messages.Count(outcome, route):
                self._metrics.count(outcome, route)
            case messages.Handover(microseconds):
                self._metrics.observe_handover(microseconds / MICROSECONDS)
            case _:
                self._answer(message)

    def _answer(self, question: messages.Question) -> None:
        match question:
            case messages.AskAdmission():
                self.channel.send(self._decide(question))
            case messages.AskKeys(n):
                self.channel.send(self._key_ring(n))
            case messages.AskReading(n):
                self.channel.send(messages.Granted(n, self._grant_reading()))
            case messages.AskEvidence() | messages.AskHealth():
                task = asyncio.get_running_loop().create_task(self._attest(question))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _grant_reading(self) -> bool:
        slot = self._replica.take_reading()
        if slot is not None:
            self._slots[SlotKind.READING].append(slot)
        return slot is not None

    def _decide(self, question: messages.AskAdmission) -> messages.Verdict:
        candidate = Candidate(question.epoch, question.enc, question.principal, question.request_id)
        try:
            slot = self._replica.admit_now(candidate)
        except KeyExpired:
            return messages.Verdict(question.n, admitted=False, refusal=None)
        except RequestRefused as refusal:
            why = messages.Refusal(refusal.status, refusal.code, str(refusal))
            return messages.Verdict(question.n, admitted=False, refusal=why)
        self._slots[SlotKind.RUNNING].append(slot)
        return messages.Verdict(question.n, admitted=True, refusal=None)

    def _key_ring(self, n: int) -> messages.KeyRing:
        epochs = self._replica.epochs
        keys = tuple(
            messages.RingKey(
                key.config.key_id, key.config.kem, key.seed, live.material_digest, int(live.epoch.end * MICROSECONDS)
            )
            for live in epochs.opening
            for key in live.epoch.keys
        )
        return messages.KeyRing(n, keys, int(epochs.current_until * MICROSECONDS))

    async def _attest(self, question: messages.AskEvidence | messages.AskHealth) -> None:
        if isinstance(question, messages.AskHealth):
            self.channel.send(messages.Healthy(question.n, await self._replica.is_healthy()))
            return
        try:
            bundle = await self._replica.attest(question.nonce)
        except PublicRefusal as refusal:
            too_many = refusal.problem is problems.TOO_MANY_NONCES
            problem = EvidenceProblem.TOO_MANY if too_many else EvidenceProblem.NONE
            self.channel.send(messages.Evidence(question.n, b"", problem))
            return
        self.channel.send(messages.Evidence(question.n, bundle, None))
