"""`mitai verify` as a shell sees it: evidence that is fetched, saved, and appraised again without a network."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from mitai.cli.exit_codes import ExitCode
from mitai_crypto.saved_evidence import parse_saved_evidence
from support.enclave_simulator import EnclaveSimulator
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The command, in a process in which every socket is refused.
OFFLINE = """
import asyncio, socket, ssl, sys  # the first and the third derive from sockets, so they come first
def refuse(*arguments, **named):
    raise SystemExit("a socket was opened")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from mitai.cli import main
sys.argv[0] = "mitai"
main()
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        yield running


@pytest.fixture(scope="module")
def policy(simulator: EnclaveSimulator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "政策.toml"
    path.write_text(simulator.policy(name="測試 测试 test").encode(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def saved(simulator: EnclaveSimulator, policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "證據.json"
    done = mitai("verify", simulator.url, "--policy", policy, "--bundle", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evidence"]["source"] == "fetched"
    return path


def mitai(*arguments: str | Path, offline: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    start = ["-c", OFFLINE] if offline else ["-m", "mitai.cli"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "250", "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_saved_evidence_is_what_the_enclave_said(simulator: EnclaveSimulator, saved: Path) -> None:
    evidence = parse_saved_evidence(saved.read_bytes())
    assert evidence.url == simulator.url
    assert evidence.bundle == simulator.enclave.bundle(evidence.nonce)
    assert abs(evidence.time - time.time()) < 300
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600


def test_saved_evidence_is_appraised_again_without_a_network(saved: Path, policy: Path) -> None:
    evidence = parse_saved_evidence(saved.read_bytes())
    done = mitai("verify", "--bundle", saved, "--policy", policy, "--json", offline=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["simulated"], told["checked_at"]) == (True, True, evidence.time)
    assert len(told["steps"]) == 13
    assert told["evidence"] == {
        "source": "saved",
        "digest": evidence.digest,
        "url": evidence.url,
        "time": evidence.time,
        "nonce": json.loads(saved.read_bytes())["nonce"],
    }
    assert set(told["enclave"]) == {
        "engine", "model", "configuration", "crypto_material", "receipt_key", "keys", "usable_until",
    }  # fmt: skip
    assert "saved with it" in told["notes"][0]
    assert "chose the nonce" in told["notes"][1]


def test_the_text_says_as_of_when_and_who_chose_the_nonce(saved: Path, policy: Path) -> None:
    shown = mitai("verify", "--bundle", saved, "--policy", policy, offline=True)
    assert shown.returncode == 0, shown.stderr
    for words in (
        "VERIFIED",
        "SIMULATED",
        "測試 测试 test",
        "appraised as of",
        "saved with it",
        "chose the nonce",
        "The wire still shows",
    ):
        assert words in shown.stdout
    assert "SIMULATED" in shown.stderr


def test_the_environment_sends_nobody_to_the_network(saved: Path, policy: Path) -> None:
    before = saved.read_bytes()
    done = mitai(
        "verify", "--bundle", saved, "--policy", policy, "--json", offline=True, MITAI_ENCLAVE="http://127.0.0.1:9"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["evidence"]["source"] == "saved"
    assert saved.read_bytes() == before


@pytest.mark.parametrize("spelling", ["4000000000", "2096-10-02T07:06:40Z", "2096-10-02T15:06:40+08:00"])
def test_another_time_can_be_asked_for(saved: Path, policy: Path, spelling: str) -> None:
    done = mitai("verify", "--bundle", saved, "--policy", policy, "--now", spelling, "--json", offline=True)
    assert done.returncode == ExitCode.UNVERIFIED
    told = json.loads(done.stdout)
    assert told["checked_at"] == 4_000_000_000
    assert told["enclave"] is None
    assert "given by --now" in told["notes"][0]


@pytest.mark.parametrize("spelling", ["tomorrow", "明天", "2026-01-05", "2026-01-05T08:00:00", "-1", "9" * 30, "1.5"])
def test_a_time_that_is_none_is_a_mistake_of_the_command_line(saved: Path, policy: Path, spelling: str) -> None:
    done = mitai("verify", "--bundle", saved, "--policy", policy, f"--now={spelling}", offline=True)
    assert done.returncode == ExitCode.USAGE


def test_an_address_and_a_time_do_not_go_together(policy: Path) -> None:
    done = mitai("verify", "http://127.0.0.1:9", "--policy", policy, "--now", "1", offline=True)
    assert done.returncode == ExitCode.USAGE
    assert mitai("verify", "--policy", policy, offline=True).returncode == ExitCode.USAGE


def test_evidence_is_never_overwritten(simulator: EnclaveSimulator, saved: Path, policy: Path) -> None:
    before, asked = saved.read_bytes(), len(simulator.seen)
    done = mitai("verify", simulator.url, "--policy", policy, "--bundle", saved, "--json")
    assert done.returncode == ExitCode.UNVERIFIED
    assert json.loads(done.stdout)["error"]["type"] == "EvidenceError"
    assert (saved.read_bytes(), len(simulator.seen)) == (before, asked)


def test_evidence_that_fails_is_saved_too(simulator: EnclaveSimulator, tmp_path: Path) -> None:
    other, file = tmp_path / "other.toml", tmp_path / "failed.json"
    other.write_text(build_enclave("B").policy().encode(), encoding="utf-8")
    done = mitai("verify", simulator.url, "--policy", other, "--bundle", file, "--json")
    assert done.returncode == ExitCode.UNVERIFIED
    again = mitai("verify", "--bundle", file, "--policy", other, "--json", offline=True)
    assert again.returncode == ExitCode.UNVERIFIED
    assert json.loads(again.stdout)["steps"] == json.loads(done.stdout)["steps"]


def test_threat_03_saved_evidence_does_not_pass_for_another_nonce(saved: Path, policy: Path, tmp_path: Path) -> None:
    value = json.loads(saved.read_bytes())
    value["nonce"] = "A" * 43 + "="
    file = tmp_path / "forged.json"
    file.write_text(json.dumps(value, sort_keys=True, separators=(",", ":")), encoding="utf-8")
    done = mitai("verify", "--bundle", file, "--policy", policy, "--json", offline=True)
    assert done.returncode == ExitCode.UNVERIFIED
    assert [step["number"] for step in json.loads(done.stdout)["steps"] if step["outcome"] == "fail"] == [8]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", "證據".encode(), b'{"v":1}', b" " * 7_000_000])
def test_a_file_that_is_no_saved_evidence_is_refused(policy: Path, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "broken.json"
    file.write_bytes(content)
    done = mitai("verify", "--bundle", file, "--policy", policy, "--json", offline=True)
    assert done.returncode == ExitCode.UNVERIFIED
    assert json.loads(done.stdout)["error"]["type"] == "EvidenceError"


def test_a_missing_file_is_said_with_a_way_on(policy: Path, tmp_path: Path) -> None:
    done = mitai("verify", "--bundle", tmp_path / "none.json", "--policy", policy, offline=True)
    assert done.returncode == ExitCode.UNVERIFIED
    assert "cannot be read" in done.stderr
    assert "→" in done.stderr
