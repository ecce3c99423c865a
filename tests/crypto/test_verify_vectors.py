"""Every failure of docs/spec/verification.md has its own file, and fails exactly the steps it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mitai_crypto.errors import VerificationFailed
from mitai_crypto.policy import parse_policy
from mitai_crypto.report import STEP_TITLES
from mitai_crypto.verify import appraise, verify_evidence
from support.evidence_cases import all_cases

FOLDER = Path(__file__).with_name("vectors") / "evidence"
FILES = sorted(FOLDER.glob("*.json"))


def replay(path: Path) -> tuple[dict[int, str], dict[int, str], str]:
    vector = json.loads(path.read_text(encoding="utf-8"))
    report, result = appraise(
        vector["bundle"].encode(),
        nonce=bytes.fromhex(vector["nonce"]),
        policy=parse_policy(vector["policy"].encode()),
        now=vector["now"],
    )
    assert (result is not None) == report.ok
    expected = {int(number): outcome for number, outcome in vector["steps"].items()}
    found = {step.number: step.outcome.value for step in report.steps}
    return found, expected, "\n".join(f"{step.number} {step.outcome} {step.reason}" for step in report.steps)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_vector_fails_exactly_its_steps(path: Path) -> None:
    found, expected, reasons = replay(path)
    assert found == expected, reasons


def test_the_files_are_what_the_cases_give() -> None:
    cases = all_cases()
    assert {path.stem for path in FILES} == set(cases)
    for path in FILES:
        assert path.read_text(encoding="utf-8") == cases[path.stem].encode(), path.stem


def test_every_step_that_can_fail_is_failed_by_some_vector() -> None:
    failed = {number for case in all_cases().values() for number, outcome in case.changed.items() if outcome == "fail"}
    assert failed == set(STEP_TITLES)


def test_no_vector_but_ok_verifies() -> None:
    for name, case in all_cases().items():
        if name == "ok":
            assert verify_evidence(case.bundle, nonce=case.nonce, policy=case.policy, now=case.now)
        else:
            with pytest.raises(VerificationFailed) as caught:
                verify_evidence(case.bundle, nonce=case.nonce, policy=case.policy, now=case.now)
            assert not caught.value.report.ok


def failing_case(name: str, number: int) -> None:
    found, expected, reasons = replay(FOLDER / f"{name}.json")
    assert found[number] == "fail", reasons
    assert found == expected


def test_threat_03_stale_nonce() -> None:
    failing_case("nonce_stale", 8)


def test_threat_04_evidence_of_one_enclave_with_the_key_of_another() -> None:
    failing_case("key_of_other_enclave", 8)


@pytest.mark.parametrize(
    "name",
    [
        "report_data_half_zero",
        "report_data_tail_not_zero",
        "report_data_halves_swapped",
        "report_data_repeated",
        "report_data_zero",
    ],
)
def test_threat_05_half_bound_report_data(name: str) -> None:
    failing_case(name, 8)


@pytest.mark.parametrize(
    ("name", "step"),
    [("root_not_pinned", 3), ("material_of_other_enclave", 8), ("model_name_differs", 11)],
)
def test_threat_06_wrong_subject(name: str, step: int) -> None:
    failing_case(name, step)


def test_threat_22_self_reported_tcb_version() -> None:
    failing_case("tcb_self_reported", 5)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("tcb_configuration_needed", 5),
        ("tcb_hardening_needed", 5),
        ("tcb_out_of_date", 5),
        ("tcb_revoked", 5),
        ("tcb_status_expired", 5),
        ("crl_expired", 3),
        ("platform_expired", 3),
        ("platform_revoked", 3),
        ("debug", 6),
        ("migratable", 6),
    ],
)
def test_threat_23_bad_tcb_expired_collateral_or_debug(name: str, step: int) -> None:
    failing_case(name, step)


def test_threat_24_expired_reference_value() -> None:
    failing_case("reference_expired", 12)


def test_threat_26_simulated_evidence_under_a_production_policy() -> None:
    failing_case("simulated_under_production_policy", 2)
    failing_case("simulated_under_production_policy", 3)


@pytest.mark.parametrize("name", ["gpu_required_without_evidence", "gpu_required_without_appraiser"])
def test_threat_27_gpu_policy_with_cpu_evidence(name: str) -> None:
    failing_case(name, 9)
