"""What does an appraisal tell people and programs? (`docs/spec/verification.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mitai_crypto.evidence import TeeKind
    from mitai_crypto.strict_json import JsonObject


class Outcome(StrEnum):
    """What came of one step."""

    PASS = "pass"  # noqa: S105 - not a password
    FAIL = "fail"
    NOT_CHECKED = "not checked"


STEP_TITLES: Final[Mapping[int, str]] = {
    1: "strict parse",
    2: "TEE kind and mode",
    3: "certificate chain",
    4: "quote signature",
    5: "TCB status",
    6: "debug and migration",
    7: "measurement",
    8: "report data",
    9: "GPU",
    10: "key validity",
    11: "workload",
    12: "age of reference values",
    13: "chip",
}
MANDATORY_STEPS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 10, 11})
RESTS_ON: Final[Mapping[int, tuple[int, ...]]] = {
    4: (3,),
    5: (3, 4),
    6: (4,),
    7: (4,),
    8: (4,),
    9: (8,),
    10: (8,),
    11: (7, 8),
    12: (7,),
    13: (3,),
}
"""Step → the steps that must have passed for its own pass to prove anything."""


@dataclass(frozen=True)
class Step:
    """One step of an appraisal.

    Attributes:
        number: 1–13.
        title: The step's name in the specification.
        outcome: Never folded together with another step's.
        reason: Why, as one sentence for an engineer.
    """

    number: int
    title: str
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class VerificationReport:
    """Every step of one appraisal.

    Attributes:
        steps: All 13, in order.
        tee: The evidence kind; None where the bundle could not be read.
        simulated: Whether the evidence kind is the simulated one, whatever the enclave says of itself.
        policy_name: Of the policy that was applied.
        policy_digest: Hex digest of that policy.
        measurement: Hex digest over the registers; empty unless the quote's signature was verified.
        checked_at: Unix seconds.
        trust_on_first_use: Whether that policy pins what an enclave showed first and nobody compared.
    """

    steps: tuple[Step, ...]
    tee: TeeKind | None
    simulated: bool
    policy_name: str
    policy_digest: str
    measurement: str
    checked_at: int
    trust_on_first_use: bool = False

    @property
    def ok(self) -> bool:
        """Whether every mandatory step passed and no other failed."""
        return tuple(step.number for step in self.steps) == tuple(STEP_TITLES) and all(
            step.outcome is Outcome.PASS or (step.outcome is Outcome.NOT_CHECKED and step.number not in MANDATORY_STEPS)
            for step in self.steps
        )

    @property
    def failures(self) -> tuple[Step, ...]:
        """The steps because of which `ok` is false: those that failed, then mandatory ones not checked."""
        failed = [step for step in self.steps if step.outcome is Outcome.FAIL]
        unchecked = [
            step for step in self.steps if step.outcome is Outcome.NOT_CHECKED and step.number in MANDATORY_STEPS
        ]
        return (*failed, *unchecked)

    def to_json(self) -> JsonObject:
        """Give the report as the JSON object of `docs/spec/verification.md`."""
        return {
            "ok": self.ok,
            "tee": None if self.tee is None else self.tee.value,
            "simulated": self.simulated,
            "policy": {
                "name": self.policy_name,
                "digest": self.policy_digest,
                "trust_on_first_use": self.trust_on_first_use,
            },
            "measurement": self.measurement,
            "checked_at": self.checked_at,
            "steps": [
                {
                    "number": step.number,
                    "title": step.title,
                    "outcome": step.outcome.value,
                    "reason": step.reason,
                }
                for step in self.steps
            ],
        }
