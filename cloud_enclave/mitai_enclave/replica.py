"""What does the hot path need from the replica that it works for? Keys, slots, admission, evidence, health.

`Replica` is the interface. `LocalReplica` owns all of it in this process; `mitai_enclave.keeper_client` asks the
process that does (`docs/spec/replicas.md`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mitai_crypto.errors import TeeUnavailable
from mitai_enclave import log, problems
from mitai_enclave.errors import RequestRefused
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.slots import Slots

if TYPE_CHECKING:
    from mitai_crypto.kem import PrivateKey
    from mitai_crypto.ohttp import KeyConfig
    from mitai_enclave.attestation import EvidenceSource, TokenBucket
    from mitai_enclave.engine import Engine
    from mitai_enclave.epochs import KeyEpochs
    from mitai_enclave.metrics import Outcome
    from mitai_enclave.routes import RouteClass
    from mitai_enclave.slots import Slot


@dataclass(frozen=True, slots=True)
class OpeningKey:
    """A key that opens requests now.

    Attributes:
        config: The public key configuration.
        private: The key.
        epoch: SHA-256 of the `crypto_material` in which it is the current key; names its epoch.
    """

    config: KeyConfig
    private: PrivateKey = field(repr=False)
    epoch: bytes


@dataclass(frozen=True, slots=True)
class Candidate:
    """What admission is decided on.

    Attributes:
        epoch: Of the key that opened the request.
        enc: SHA-256 of its encapsulated key.
        principal: Whose request it is.
        request_id: 16 bytes that name the intended execution.
    """

    epoch: bytes
    enc: bytes
    principal: str
    request_id: bytes


class Replica(Protocol):
    """The replica, as one process of it sees it."""

    async def prepare(self) -> None:
        """Have the keys that open from now on; called before a request is read."""

    def find(self, key_id: int) -> OpeningKey | None:
        """Return the key with this id, current or retired."""

    def current(self) -> tuple[KeyConfig, ...]:
        """Return the keys of the current epoch, the preferred first; after `prepare`."""

    async def begin_reading(self) -> Slot:
        """Take a reading slot.

        Raises:
            PublicRefusal: 503, none is free.
        """

    async def admit(self, candidate: Candidate) -> Slot:
        """Let a request run once, in one atomic step for the whole replica, and take a running slot for it.

        Raises:
            KeyExpired: Its key was dropped meanwhile.
            RequestRefused: 503 or 400; nothing was recorded.
        """

    async def is_healthy(self) -> bool:
        """Tell whether the engine that was hashed is healthy."""

    async def attest(self, nonce: bytes) -> bytes:
        """Return an evidence bundle for a nonce of 32 bytes.

        Raises:
            PublicRefusal: 429 or 503.
        """


class Recorder(Protocol):
    """Where counts go; `Metrics` is one."""

    def count(self, outcome: Outcome, route: RouteClass = ...) -> None:
        """Count a finished request."""

    def observe_handover(self, seconds: float) -> None:
        """Count how long the sidecar worked on a request before the engine got it."""


class LocalReplica:
    """The replica in the process that owns it.

    Args:
        epochs: Keys, replay set and execution memory.
        engine: Whose health decides.
        evidence: Answers nonces.
        bucket: Rate limit of evidence.
        reading: Reading slots that are not dealt out to workers.
        running: Running slots.
    """

    def __init__(
        self,
        *,
        epochs: KeyEpochs,
        engine: Engine,
        evidence: EvidenceSource,
        bucket: TokenBucket,
        reading: int,
        running: int,
    ) -> None:
        self._epochs = epochs
        self._engine = engine
        self._evidence = evidence
        self._bucket = bucket
        self._reading = Slots(reading)
        self._running = Slots(running)

    @property
    def epochs(self) -> KeyEpochs:
        """The keys."""
        return self._epochs

    async def prepare(self) -> None:
        """Do nothing: looking for a key rotates."""

    def find(self, key_id: int) -> OpeningKey | None:
        """Return the key with this id, current or retired."""
        found = self._epochs.find(key_id)
        return None if found is None else OpeningKey(found[1].config, found[1].private, found[0].material_digest)

    def current(self) -> tuple[KeyConfig, ...]:
        """Return the keys of the current epoch."""
        return tuple(key.config for key in self._epochs.current.epoch.keys)

    def take_reading(self) -> Slot | None:
        """Take a reading slot; None when there is none."""
        return self._reading.take()

    async def begin_reading(self) -> Slot:
        """Take a reading slot, as `Replica` says."""
        slot = self.take_reading()
        if slot is None:
            raise PublicRefusal(problems.BUSY)
        return slot

    def admit_now(self, candidate: Candidate) -> Slot:
        """Admit without giving way to anything else: this is the atomic step.

        Raises:
            KeyExpired: The key was dropped meanwhile.
            RequestRefused: 503 or 400; nothing was recorded.
        """
        if not self._engine.healthy:
            raise RequestRefused(503, "engine_unavailable", "The engine is not running; try again later.")
        slot = self._running.take()
        if slot is None:
            raise RequestRefused(503, "overloaded", "Too many requests are running; try again later.")
        try:
            self._epochs.admit_digest(candidate.epoch, candidate.enc, candidate.principal, candidate.request_id)
        except BaseException:
            slot.release()
            raise
        return slot

    async def admit(self, candidate: Candidate) -> Slot:
        """Admit, as `Replica` says."""
        return self.admit_now(candidate)

    async def is_healthy(self) -> bool:
        """Tell whether the engine is healthy."""
        return self._engine.healthy

    async def attest(self, nonce: bytes) -> bytes:
        """Return an evidence bundle, as `Replica` says (`docs/spec/http.md` §2, steps 2 to 4)."""
        if not self._bucket.take():
            raise PublicRefusal(problems.TOO_MANY_NONCES)
        if not self._engine.healthy:
            raise PublicRefusal(problems.NO_EVIDENCE)
        try:
            return await self._evidence.bundle(nonce)
        except TeeUnavailable as error:
            log.emit("quote_failed", level=logging.ERROR, error=type(error).__name__)
            raise PublicRefusal(problems.NO_EVIDENCE) from error
