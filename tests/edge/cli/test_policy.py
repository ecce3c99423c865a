"""`mitai policy` as a shell sees it: written from measured values only, never over another, never on a first look."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mitai.cli.exit_codes import ExitCode
from mitai_crypto.evidence import TeeKind
from mitai_crypto.policy import parse_policy
from mitai_crypto.policy_toml import policy_from_reference
from support.enclave_simulator import EnclaveSimulator
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = json.dumps(
    {
        "tee": "simulated",
        "root": "33" * 32,
        "registers": {f"r{number}": f"{number}0" * 48 for number in range(4)},
        "issued": "2026-01-05T08:00:00Z",
    }
)
WORKLOAD = json.dumps(
    {"model": {"name": "模型 SmolLM2", "digest": "22" * 32}, "configuration": "11" * 32, "engine": "vllm"}
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "reference.json").write_text(REFERENCE, encoding="utf-8")
    (tmp_path / "workload.json").write_text(WORKLOAD, encoding="utf-8")
    return tmp_path


def mitai(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mitai.cli", "policy", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def init(home: Path, *arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    files = ("--reference", home / "reference.json", "--workload", home / "workload.json")
    return mitai("init", *files, *arguments, stdin=stdin)


def test_init_writes_what_was_measured_and_explains_it(home: Path) -> None:
    done = init(home, "--name", "公司 company", "--output", home / "policy.toml")
    assert done.returncode == 0, done.stderr
    text = (home / "policy.toml").read_text(encoding="utf-8")
    policy = parse_policy(text.encode())
    assert policy == policy_from_reference("公司 company", REFERENCE.encode(), WORKLOAD.encode())
    assert policy.digest in done.stderr
    assert text.count("# ") > 8
    assert init(home, "--name", "公司 company").stdout == text


def test_one_of_the_two_may_come_from_stdin(home: Path) -> None:
    first = mitai("init", "--reference", "-", "--workload", home / "workload.json", stdin=REFERENCE)
    second = mitai("init", "--reference", home / "reference.json", "--workload", "-", stdin=WORKLOAD)
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout == second.stdout == init(home).stdout
    assert mitai("init", "--reference", "-", "--workload", "-", stdin=REFERENCE).returncode == ExitCode.USAGE
    assert mitai("init", "--reference", home / "reference.json").returncode == ExitCode.USAGE
    assert mitai("init").returncode == ExitCode.USAGE


def test_nothing_is_overwritten_without_force(home: Path) -> None:
    path = home / "policy.toml"
    path.write_text("mine", encoding="utf-8")
    refused = init(home, "--output", path)
    assert refused.returncode == ExitCode.UNVERIFIED
    assert "--force" in refused.stderr
    assert path.read_text(encoding="utf-8") == "mine"
    assert init(home, "--output", path, "--force").returncode == 0
    parse_policy(path.read_bytes())
    assert sorted(file.name for file in home.iterdir()) == ["policy.toml", "reference.json", "workload.json"]


@pytest.mark.parametrize("broken", ["", "{}", "租約", REFERENCE.replace("simulated", "tdx"), REFERENCE + "x"])
def test_a_reference_that_is_none_is_refused(home: Path, broken: str) -> None:
    done = mitai("init", "--reference", "-", "--workload", home / "workload.json", stdin=broken)
    assert done.returncode == ExitCode.UNVERIFIED
    assert done.stdout == ""


def test_threat_26_a_simulated_enclave_is_not_pinned_on_first_use(home: Path) -> None:
    path = home / "policy.toml"
    with EnclaveSimulator() as simulator:
        done = mitai("init", "--trust-on-first-use", simulator.url, "--output", path)
        both = init(home, "--trust-on-first-use", simulator.url)
    assert done.returncode == ExitCode.UNVERIFIED
    assert "never trusted on first use" in done.stderr
    assert "mitai-sim measure" in done.stderr
    assert not path.exists()
    assert both.returncode == ExitCode.USAGE


@pytest.mark.parametrize("tee", [TeeKind.TDX, TeeKind.SEV_SNP])
def test_hardware_that_cannot_be_verified_is_not_pinned_either(home: Path, tee: TeeKind) -> None:
    with EnclaveSimulator() as simulator:
        parts = simulator.enclave.parts
        simulator.misbehaviour.evidence = lambda nonce: replace(parts(nonce), tee=tee).encode()
        done = mitai("init", "--trust-on-first-use", simulator.url, "--output", home / "policy.toml")
    assert done.returncode == ExitCode.UNVERIFIED
    assert "not supported yet" in done.stderr
    assert not (home / "policy.toml").exists()


def test_first_use_of_nothing_and_of_nonsense(home: Path) -> None:
    assert mitai("init", "--trust-on-first-use", "http://127.0.0.1:9").returncode == ExitCode.UNREACHABLE
    with EnclaveSimulator() as simulator:
        simulator.misbehaviour.evidence = lambda _: b"{}"
        assert mitai("init", "--trust-on-first-use", simulator.url).returncode == ExitCode.UNVERIFIED


def test_show_and_check(home: Path) -> None:
    path = home / "policy.toml"
    policy = build_enclave().policy(name="測試 测试 test")
    path.write_text(policy.encode(), encoding="utf-8")
    told = json.loads(mitai("show", path, "--json").stdout)
    assert told["digest"] == policy.digest
    assert told["policy"]["name"] == "測試 测试 test"
    shown = mitai("show", path)
    assert policy.digest in shown.stdout
    assert "SIMULATED" in shown.stderr
    checked = mitai("check", path, "--json")
    assert checked.returncode == 0, checked.stderr
    told = json.loads(checked.stdout)
    assert told["ok"]
    assert {finding["field"] for finding in told["findings"]} == {"reference", "tee", "suites"}
    assert "SIMULATED" in mitai("check", path).stdout
    path.write_text("version = 1\nteh = []\n", encoding="utf-8")
    assert mitai("check", path).returncode == ExitCode.UNVERIFIED


def test_the_mark_shows_and_hardware_cannot_pass_yet(home: Path) -> None:
    from mitai_crypto.evidence import REGISTERS
    from mitai_crypto.policy_toml import policy_on_first_use

    registers = dict.fromkeys(REGISTERS[TeeKind.TDX], "11" * 48)
    material = replace(build_enclave().material, mode="production")
    marked = policy_on_first_use("首次", TeeKind.TDX, registers, material, now=1_700_000_000)
    path = home / "policy.toml"
    path.write_text(marked.encode(), encoding="utf-8")
    assert "TRUST ON FIRST USE" in mitai("show", path).stdout
    checked = mitai("check", path)
    assert checked.returncode == ExitCode.UNVERIFIED
    assert "NO ENCLAVE CAN PASS" in checked.stdout
    assert "trust_on_first_use" in checked.stdout
    with EnclaveSimulator() as simulator:
        report = subprocess.run(
            [sys.executable, "-m", "mitai.cli", "verify", simulator.url, "--policy", str(path)],
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert report.returncode == ExitCode.UNVERIFIED
    assert "TRUST ON FIRST USE" in report.stdout
