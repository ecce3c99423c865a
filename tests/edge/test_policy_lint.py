from __future__ import annotations

from dataclasses import replace

import pytest

from mitai.policy_lint import Finding, Level, lint_policy
from mitai_crypto.evidence import REGISTERS, TeeKind
from mitai_crypto.policy import KeySuite, Reference
from support.evidence_builder import NOW, build_enclave

DAY = 86_400
SIMULATED = replace(build_enclave().policy(), suites=(KeySuite.MLKEM768_X25519,))
TDX = Reference("版本一", NOW - DAY, NOW + 365 * DAY, dict.fromkeys(REGISTERS[TeeKind.TDX], "11" * 48))
HARDWARE = replace(SIMULATED, tee=(TeeKind.TDX,), root=None, references=(TDX,), gpu="required", chips=("ab",))


def fields(findings: list[Finding], level: Level = Level.WARNING) -> list[str]:
    return [finding.field for finding in findings if finding.level is level]


def test_hardware_is_an_error_until_it_can_be_verified_and_nothing_else_is_found() -> None:
    (finding,) = lint_policy(HARDWARE, now=NOW)
    assert (finding.level, finding.field) == (Level.ERROR, "tee")
    assert "not supported yet" in finding.message


def test_simulation_is_named_and_may_pass() -> None:
    found = lint_policy(SIMULATED, now=NOW)
    assert fields(found) == ["reference", "tee"]
    assert fields(found, Level.ERROR) == []
    assert "SIMULATED" in found[1].message


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"trust_on_first_use": True}, "trust_on_first_use"),
        ({"suites": (KeySuite.MLKEM768_X25519, KeySuite.X25519)}, "suites"),
        ({"engine": ("vllm", "external")}, "engine"),
        ({"max_age_seconds": 3601}, "max_age_seconds"),
        ({"gpu": "not-required"}, "gpu"),
        ({"chips": ()}, "chips"),
        ({"references": (replace(TDX, expires=None),)}, "reference"),
        ({"references": (replace(TDX, expires=NOW + 29 * DAY),)}, "reference"),
    ],
)
def test_each_weakness_is_found(changes: dict[str, object], field: str) -> None:
    assert fields(lint_policy(replace(HARDWARE, **changes), now=NOW)) == [field]


@pytest.mark.parametrize("reference", [replace(TDX, expires=NOW), replace(TDX, issued=NOW + 301)])
def test_without_a_reference_value_that_counts_no_enclave_can_pass(reference: Reference) -> None:
    found = lint_policy(replace(HARDWARE, references=(reference,)), now=NOW)
    assert fields(found, Level.ERROR) == ["reference", "tee"]
    assert found[0].level is Level.ERROR  # errors come first
    assert fields(lint_policy(replace(HARDWARE, references=(reference, TDX)), now=NOW), Level.ERROR) == ["tee"]


def test_threat_28_a_policy_that_any_chip_satisfies_is_pointed_out() -> None:
    (finding,) = [each for each in lint_policy(replace(HARDWARE, chips=()), now=NOW) if each.field == "chips"]
    assert "interposer" in finding.message
    assert "chips" not in fields(lint_policy(HARDWARE, now=NOW))
