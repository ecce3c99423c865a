"""The replica as a worker sees it: the keeper is asked for what there must be one of (`docs/spec/replicas.md`)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, TypeVar

from mitai_crypto.kem import load_private_key
from mitai_crypto.ohttp import KeyConfig
from mitai_enclave import messages, problems
from mitai_enclave.channel import Channel
from mitai_enclave.epochs import SYMMETRIC
from mitai_enclave.errors import ChannelBroken, KeyExpired, RequestRefused
from mitai_enclave.keeper import MICROSECONDS
from mitai_enclave.messages import EvidenceProblem, SlotKind, ToKeeper, ToWorker
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.replica import OpeningKey
from mitai_enclave.routes import RouteClass
from mitai_enclave.slots import Slot, Slots

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_enclave.metrics import Outcome
    from mitai_enclave.replica import Candidate

_LEAST_PAUSE: Final = 0.05
_MOST_PAUSE: Final = 60.0
_A = TypeVar("_A", messages.KeyRing, messages.Verdict, messages.Granted, messages.Evidence, messages.Healthy)


class KeeperClient:
    """The worker's end of the channel; a `Replica` and a `Recorder`.

    Args:
        on_end: Called when the keeper is gone; the process must end then.
        monotonic: The clock that all processes of the machine share, in seconds.

    Attributes:
        channel: To be opened by the caller.
        welcome: What the keeper said first.
    """

    def __init__(self, on_end: Callable[[], None], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.channel: Final = Channel[ToWorker, ToKeeper](
            messages.TO_WORKER,
            messages.TO_KEEPER,
            max_bytes=messages.MAX_TO_WORKER,
            on_message=self._take,
            on_end=on_end,
        )
        self.welcome: Final = asyncio.get_running_loop().create_future()
        self._monotonic = monotonic
        self._number = 0
        self._waiting: dict[int, asyncio.Future[messages.Answer]] = {}
        self._share = Slots(0)
        self._keys: dict[int, tuple[OpeningKey, float]] = {}
        self._fresh_until = 0.0
        self._one_at_a_time = asyncio.Lock()

    # What the hot path asks for: `Replica`.

    async def prepare(self) -> None:
        """Ask for the keys when the current epoch has ended; a key from evidence of this moment is there then."""
        if self._monotonic() < self._fresh_until:
            return
        async with self._one_at_a_time:
            if self._monotonic() >= self._fresh_until:
                ring = await self._ask(messages.AskKeys(self._next()), messages.KeyRing)
                self._keys = {key.key_id: (_opening_key(key), key.until / MICROSECONDS) for key in ring.keys}
                self._fresh_until = ring.fresh_until / MICROSECONDS

    def find(self, key_id: int) -> OpeningKey | None:
        """Return the key with this id, unless its time is over."""
        key, until = self._keys.get(key_id, (None, 0.0))
        return key if self._monotonic() < until else None

    def current(self) -> tuple[KeyConfig, ...]:
        """Return the keys of the current epoch: the keeper names them first."""
        keys = [key for key, _ in self._keys.values()]
        return tuple(key.config for key in keys if key.epoch == keys[0].epoch)

    async def begin_reading(self) -> Slot:
        """Take a reading slot of this worker's share, or of the reserve."""
        slot = self._share.take()
        if slot is not None:
            return slot
        answer = await self._ask(messages.AskReading(self._next()), messages.Granted)
        if not answer.granted:
            raise PublicRefusal(problems.BUSY)
        return self._held(SlotKind.READING)

    async def admit(self, candidate: Candidate) -> Slot:
        """Have the keeper decide."""
        question = messages.AskAdmission(
            self._next(), candidate.epoch, candidate.enc, candidate.principal, candidate.request_id
        )
        verdict = await self._ask(question, messages.Verdict)
        if verdict.refusal is not None:
            raise RequestRefused(verdict.refusal.status, verdict.refusal.code, verdict.refusal.text)
        if not verdict.admitted:
            raise KeyExpired("The key that opened this request is no longer in use.")
        return self._held(SlotKind.RUNNING)

    async def is_healthy(self) -> bool:
        """Ask whether the engine is healthy."""
        return (await self._ask(messages.AskHealth(self._next()), messages.Healthy)).healthy

    async def attest(self, nonce: bytes) -> bytes:
        """Ask for an evidence bundle."""
        answer = await self._ask(messages.AskEvidence(self._next(), nonce), messages.Evidence)
        if answer.problem is not None:
            too_many = answer.problem is EvidenceProblem.TOO_MANY
            raise PublicRefusal(problems.TOO_MANY_NONCES if too_many else problems.NO_EVIDENCE)
        return answer.bundle

    # `Recorder`.

    def count(self, outcome: Outcome, route: RouteClass = RouteClass.OTHER) -> None:
        """Report a finished request."""
        self.channel.send(messages.Count(outcome, route))

    def observe_handover(self, seconds: float) -> None:
        """Report how long the work before a hand-over took."""
        self.channel.send(messages.Handover(int(seconds * MICROSECONDS)))

    # The worker's own.

    def ready(self) -> None:
        """Report that connections are accepted."""
        self.channel.send(messages.Ready())

    async def keep_keys(self) -> None:
        """Drop keys when their time is over, with or without traffic, until cancelled."""
        while True:
            due = min([self._fresh_until, *(until for _, until in self._keys.values())])
            await asyncio.sleep(min(max(due - self._monotonic(), _LEAST_PAUSE), _MOST_PAUSE))
            await self.prepare()
            now = self._monotonic()
            self._keys = {number: kept for number, kept in self._keys.items() if now < kept[1]}

    def _held(self, kind: SlotKind) -> Slot:
        return Slot(lambda: self.channel.send(messages.Release(kind)))

    def _next(self) -> int:
        self._number += 1
        return self._number

    async def _ask(self, question: messages.Question, kind: type[_A]) -> _A:
        waiting: asyncio.Future[messages.Answer] = asyncio.get_running_loop().create_future()
        self._waiting[question.n] = waiting
        self.channel.send(question)
        answer = await waiting
        if not isinstance(answer, kind):
            self.channel.close()
            raise ChannelBroken("The keeper answered another question.")
        return answer

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, messages.Welcome):
            if self.welcome.done():
                raise ChannelBroken("The keeper said welcome twice.")
            self._share = Slots(message.reading_share)
            self.welcome.set_result(message)
            return
        waiting = self._waiting.pop(message.n, None)
        if waiting is None:
            raise ChannelBroken("The keeper answered a question that was not asked.")
        if not waiting.cancelled():
            waiting.set_result(message)
            return
        # Whoever asked was cancelled meanwhile: what was granted is held by nobody.
        if isinstance(message, messages.Verdict) and message.admitted:
            self._held(SlotKind.RUNNING).release()
        if isinstance(message, messages.Granted) and message.granted:
            self._held(SlotKind.READING).release()


def _opening_key(key: messages.RingKey) -> OpeningKey:
    private = load_private_key(key.kem, key.seed)
    config = KeyConfig(key.key_id, key.kem, private.public_bytes, SYMMETRIC[key.kem])
    return OpeningKey(config, private, key.epoch)
