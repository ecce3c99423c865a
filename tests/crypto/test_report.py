from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from mitai_crypto.evidence import TeeKind
from mitai_crypto.report import MANDATORY_STEPS, RESTS_ON, STEP_TITLES, Outcome, Step, VerificationReport

SPECIFICATION = Path(__file__).parents[2] / "docs" / "spec" / "verification.md"


def report_with(**outcomes: Outcome) -> VerificationReport:
    changed = {int(name.removeprefix("step_")): outcome for name, outcome in outcomes.items()}
    steps = tuple(
        Step(number, title, changed.get(number, Outcome.PASS), "reason") for number, title in STEP_TITLES.items()
    )
    return VerificationReport(
        steps=steps,
        tee=TeeKind.SIMULATED,
        simulated=True,
        policy_name="policy",
        policy_digest="00" * 32,
        measurement="",
        checked_at=0,
    )


def test_titles_and_foundations_are_those_of_the_specification() -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \|", SPECIFICATION.read_text(encoding="utf-8"), re.MULTILINE)
    assert {int(number): title for number, title, _ in rows} == STEP_TITLES
    rests = {int(number): tuple(int(step) for step in re.findall(r"\d+", below)) for number, _, below in rows}
    assert {number: below for number, below in rests.items() if below} == RESTS_ON


def test_a_step_rests_only_on_earlier_ones() -> None:
    assert all(below < number for number, steps in RESTS_ON.items() for below in steps)


@pytest.mark.parametrize("number", sorted(STEP_TITLES))
def test_what_fails_is_never_ok(number: int) -> None:
    report = report_with(**{f"step_{number}": Outcome.FAIL})
    assert not report.ok
    assert [step.number for step in report.failures] == [number]


@pytest.mark.parametrize("number", sorted(STEP_TITLES))
def test_not_checked_is_a_failure_exactly_on_mandatory_steps(number: int) -> None:
    report = report_with(**{f"step_{number}": Outcome.NOT_CHECKED})
    assert report.ok == (number not in MANDATORY_STEPS)
    assert [step.number for step in report.failures] == ([number] if number in MANDATORY_STEPS else [])


def test_the_steps_that_cannot_be_turned_off() -> None:
    assert {1, 2, 3, 4, 5, 6, 7, 8, 10, 11} == MANDATORY_STEPS


def test_a_report_with_a_step_left_out_is_not_ok() -> None:
    report = report_with()
    assert report.ok
    assert not replace(report, steps=()).ok
    assert not replace(report, steps=report.steps[:-1]).ok
    assert not replace(report, steps=report.steps[::-1]).ok
