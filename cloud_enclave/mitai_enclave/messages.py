"""What do keeper and worker say to each other? The messages of `docs/spec/replicas.md` §3.

No `from __future__ import annotations` here: the codec reads these annotations.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mitai_crypto.evidence import TeeKind
from mitai_crypto.kem import Kem
from mitai_enclave.config import Limits
from mitai_enclave.metrics import Outcome
from mitai_enclave.routes import RouteClass
from mitai_enclave.tokens import Token

MAX_TO_KEEPER: Final = 65_536
MAX_TO_WORKER: Final = 16 * 1024 * 1024


class SlotKind(StrEnum):
    """Which slot is given back."""

    READING = "reading"
    RUNNING = "running"


class EvidenceProblem(StrEnum):
    """Why there is no bundle."""

    TOO_MANY = "too_many"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The engine's address: a socket's path, or a loopback host and a port."""

    path: str | None
    host: str | None
    port: int | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """Everything a worker needs to know, once.

    Attributes:
        served_name: The model name that requests carry.
        tokens: Who may ask.
        limits: The caps of the replica.
        engine: Where requests go.
        tee: The evidence kind.
        receipt_key: Ed25519 private key, 32 bytes.
        engine_kind: `vllm` or `external`.
        model_digest: Hex; None for an external engine.
        configuration: Configuration digest, hex.
        salt_secret: The boot secret of the cache salts.
        harmful: Body fields that the engine does not bear.
        otlp: Where traces go; None for nowhere.
        reading_share: Reading slots that need no question.
    """

    served_name: str
    tokens: tuple[Token, ...] = field(repr=False)
    limits: Limits
    engine: Endpoint
    tee: TeeKind
    receipt_key: bytes = field(repr=False)
    engine_kind: str
    model_digest: str | None
    configuration: str
    salt_secret: bytes = field(repr=False)
    harmful: tuple[str, ...]
    otlp: str | None
    reading_share: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker accepts connections."""


@dataclass(frozen=True, slots=True)
class AskKeys:
    """Which keys open now?"""

    n: int


@dataclass(frozen=True, slots=True)
class RingKey:
    """One key that opens now; `until` is when it is dropped, in microseconds of the monotonic clock."""

    key_id: int
    kem: Kem
    seed: bytes = field(repr=False)
    epoch: bytes
    until: int


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that open now; after `fresh_until` the worker asks again before it reads a request."""

    n: int
    keys: tuple[RingKey, ...]
    fresh_until: int


@dataclass(frozen=True, slots=True)
class AskAdmission:
    """May this request run?"""

    n: int
    epoch: bytes
    enc: bytes
    principal: str
    request_id: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A sealed refusal."""

    status: int
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: admitted, refused, or neither where the key is gone."""

    n: int
    admitted: bool
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class AskReading:
    """Is a reading slot of the reserve free?"""

    n: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer."""

    n: int
    granted: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A slot is given back."""

    slot: SlotKind


@dataclass(frozen=True, slots=True)
class AskEvidence:
    """Evidence for this nonce?"""

    n: int
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Evidence:
    """The bundle, or why there is none."""

    n: int
    bundle: bytes
    problem: EvidenceProblem | None


@dataclass(frozen=True, slots=True)
class AskHealth:
    """Is the engine healthy?"""

    n: int


@dataclass(frozen=True, slots=True)
class Healthy:
    """The answer."""

    n: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class Count:
    """A request is finished."""

    outcome: Outcome
    route: RouteClass


@dataclass(frozen=True, slots=True)
class Handover:
    """A request was handed to the engine after this much work of ours."""

    microseconds: int


ToKeeper = Ready | AskKeys | AskAdmission | AskReading | AskEvidence | AskHealth | Release | Count | Handover
ToWorker = Welcome | KeyRing | Verdict | Granted | Evidence | Healthy
Question = AskKeys | AskAdmission | AskReading | AskEvidence | AskHealth
Answer = KeyRing | Verdict | Granted | Evidence | Healthy

TO_KEEPER: Final[dict[str, type[ToKeeper]]] = {
    "ready": Ready,
    "keys": AskKeys,
    "admit": AskAdmission,
    "read": AskReading,
    "attest": AskEvidence,
    "health": AskHealth,
    "release": Release,
    "count": Count,
    "handover": Handover,
}
TO_WORKER: Final[dict[str, type[ToWorker]]] = {
    "welcome": Welcome,
    "key_ring": KeyRing,
    "verdict": Verdict,
    "granted": Granted,
    "evidence": Evidence,
    "healthy": Healthy,
}
