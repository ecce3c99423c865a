from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai_crypto.appraisal import Appraisal, NotChecked, needed
from mitai_crypto.errors import EvidenceError
from mitai_crypto.report import STEP_TITLES, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


def holds() -> str:
    return "it holds"


def fails() -> str:
    raise EvidenceError("it does not hold")


def is_missing() -> str:
    raise NotChecked("there is nothing")


def appraise(*rules: Callable[[], str]) -> list[tuple[Outcome, str]]:
    appraisal = Appraisal()
    for rule in rules:
        appraisal.check(rule)
    assert [step.title for step in appraisal.steps] == list(STEP_TITLES.values())[: len(rules)]
    return [(step.outcome, step.reason) for step in appraisal.steps]


def test_a_rule_gives_its_outcome_and_reason() -> None:
    assert appraise(holds, fails, is_missing) == [
        (Outcome.PASS, "it holds"),
        (Outcome.FAIL, "it does not hold"),
        (Outcome.NOT_CHECKED, "there is nothing"),
    ]


@pytest.mark.parametrize("below", [fails, is_missing])
def test_what_rests_on_a_step_that_did_not_pass_is_not_checked(below: Callable[[], str]) -> None:
    outcome, reason = appraise(holds, holds, below, holds)[3]  # step 4 rests on step 3
    assert outcome is Outcome.NOT_CHECKED
    assert reason == "not proven without step 3; as presented: it holds"


def test_what_is_broken_is_told_whatever_it_rests_on() -> None:
    assert appraise(holds, holds, fails, fails)[3] == (Outcome.FAIL, "it does not hold")


def test_a_fault_of_ours_is_no_outcome() -> None:
    def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        appraise(broken)


def test_needed() -> None:
    assert needed(0, "nothing") == 0
    with pytest.raises(NotChecked, match="nothing"):
        needed(None, "nothing")
