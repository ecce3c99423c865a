"""How does one step's rule become an outcome, and what must evidence of any kind be able to answer?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from mitai_crypto.errors import AttestationError
from mitai_crypto.report import RESTS_ON, STEP_TITLES, Outcome, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mitai_crypto.policy import Reference, TrustPolicy

T = TypeVar("T")


class NotChecked(Exception):
    """A step has nothing to look at; the message says why. It never leaves the appraisal."""


class Appraisal:
    """Collects the outcomes of the steps, in order."""

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def check(self, rule: Callable[[], str]) -> None:
        """Evaluate the rule of the next step.

        Args:
            rule: Returns why the step passes; raises `AttestationError` where it fails and `NotChecked` where
                there is nothing to look at.
        """
        number = len(self._steps) + 1
        try:
            outcome, reason = Outcome.PASS, rule()
        except AttestationError as error:
            outcome, reason = Outcome.FAIL, str(error)
        except NotChecked as error:
            outcome, reason = Outcome.NOT_CHECKED, str(error)
        missing = [str(step) for step in RESTS_ON.get(number, ()) if not self.passed(step)]
        if outcome is Outcome.PASS and missing:
            outcome = Outcome.NOT_CHECKED
            reason = f"not proven without step {' and '.join(missing)}; as presented: {reason}"
        self._steps.append(Step(number, STEP_TITLES[number], outcome, reason))

    def passed(self, number: int) -> bool:
        """Tell whether an earlier step passed."""
        return self._steps[number - 1].outcome is Outcome.PASS

    @property
    def steps(self) -> tuple[Step, ...]:
        """The outcomes so far."""
        return tuple(self._steps)


class KindAppraiser(Protocol):
    """The steps that depend on the kind of evidence. Each method is a rule for `Appraisal.check`.

    Attributes:
        registers: As quoted; None where the quote cannot be read.
        reference: The reference value that step 7 matched.
        next_update: Unix seconds at which the collateral ends; None before steps 3 and 5 passed.
    """

    registers: Mapping[str, str] | None
    reference: Reference | None
    next_update: int | None

    def chain(self, policy: TrustPolicy, now: int) -> str:
        """Step 3."""
        ...

    def signature(self) -> str:
        """Step 4."""
        ...

    def tcb_status(self, now: int) -> str:
        """Step 5."""
        ...

    def debug(self) -> str:
        """Step 6."""
        ...

    def measurement(self, policy: TrustPolicy, now: int) -> str:
        """Step 7."""
        ...

    def report_data(self) -> bytes:
        """Return what the quote carries, for step 8."""
        ...

    def chip_id(self) -> str:
        """Return the endorsed chip id in hex, for step 13."""
        ...


def needed(value: T | None, reason: str) -> T:
    """Return the value, or raise `NotChecked` with the reason where there is none."""
    if value is None:
        raise NotChecked(reason)
    return value
