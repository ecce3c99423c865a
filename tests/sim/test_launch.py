from __future__ import annotations

import base64
import json
import os
import py_compile
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from mitai_crypto.evidence import EvidenceBundle, TeeKind, report_data
from mitai_crypto.policy_toml import policy_from_reference
from mitai_crypto.verify import verify_evidence
from mitai_sim import launch
from mitai_sim.errors import Unsupported
from support.evidence_builder import NONCE, build_enclave

if TYPE_CHECKING:
    from support.measured_python import MeasuredPython

QUOTE = json.dumps({"op": "quote", "report_data": "ab" * 64})


def last_line(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int) -> None:
    end = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < end, f"{pid} is still there"
        time.sleep(0.02)


class Running:
    """A launcher whose child waits to be stopped."""

    def __init__(self, measured: MeasuredPython) -> None:
        self.process = subprocess.Popen(
            measured.argv("run", "wait"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def test_what_runs_is_what_was_measured_and_the_device_verifies_it(measured: MeasuredPython) -> None:
    enclave = build_enclave(now=int(time.time()))
    material = enclave.material.encode()
    request = json.dumps({"op": "quote", "report_data": report_data(NONCE, material, b"").hex()})
    reference = measured.run("measure", "ask", request)
    assert reference.returncode == 0, reference.stderr
    workload = {
        "model": {"name": enclave.material.model_name, "digest": enclave.material.model_digest},
        "configuration": enclave.material.configuration,
        "engine": enclave.material.engine,
    }
    policy = policy_from_reference("demo", reference.stdout.encode(), json.dumps(workload).encode())
    answer = last_line(measured.run("run", "ask", request))
    bundle = EvidenceBundle(
        TeeKind.SIMULATED,
        material,
        b"",
        base64.b64decode(str(answer["evidence"])),
        base64.b64decode(str(answer["collateral"])),
    )
    result = verify_evidence(bundle.encode(), nonce=NONCE, policy=policy, now=int(time.time()))
    assert result.simulated


def test_measuring_starts_nothing_and_says_so_in_json(measured: MeasuredPython) -> None:
    done = measured.run("measure", "exit", "9")
    reference = last_line(done) if done.stdout.count("\n") == 1 else json.loads(done.stdout)
    assert set(reference) == {"tee", "root", "registers", "issued"}
    assert done.stderr == ""


def test_threat_21_the_child_gets_the_listed_variables_and_nothing_else(measured: MeasuredPython) -> None:
    planted = {"LD_PRELOAD": "", "PYTHONPATH": "/x", "PYTHONINSPECT": "", "HTTPS_PROXY": "x", "TZ": "UTC"}
    told = last_line(measured.run("run", "tell", **planted))
    environment = told["environment"]
    assert isinstance(environment, dict)
    assert set(environment) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "MITAI_TEE_SOCKET"} | set(
        launch.accept_command(["mitai-enclave"], os.environ).environment
    )
    assert environment["TZ"] == "UTC"
    assert told["flags"] == [1, 1]
    assert told["argv"] == ["tell"]
    assert told["fds"] == ["0", "1", "2"]


def test_threat_21_planted_bytecode_does_not_run(measured: MeasuredPython) -> None:
    source = measured.code / "mitai_enclave" / "marker.py"
    before = source.stat()
    genuine = source.read_text()
    source.write_text('VALUE = "evil!!"\n')
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    py_compile.compile(str(source), doraise=True)  # into __pycache__, with the size and time of the genuine file
    source.write_text(genuine)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    plain = subprocess.run(
        [measured.interpreter, "-I", "-c", "from mitai_enclave import marker; print(marker.VALUE)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout == "evil!!\n"  # the attack works where nobody prevents it
    assert last_line(measured.run("run", "tell"))["marker"] == "source"


def test_a_grandchild_may_ask_too(measured: MeasuredPython) -> None:
    assert set(last_line(measured.run("run", "ask-from-grandchild", QUOTE))) == {"evidence", "collateral"}


def test_others_of_the_same_user_may_not(measured: MeasuredPython) -> None:
    with Running(measured) as running, socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(running.said["socket"])
        assert b"only the launched process" in peer.recv(1000)


@pytest.mark.parametrize(("given", "code"), [(("exit", "0"), 0), (("exit", "3"), 3), (("die", "9"), 137)])
def test_the_exit_code_is_the_childs(measured: MeasuredPython, given: tuple[str, ...], code: int) -> None:
    assert measured.run("run", *given).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on_and_everything_is_cleaned_up(measured: MeasuredPython, number: signal.Signals) -> None:
    with Running(measured) as running:
        folder = Path(running.said["socket"]).parent
        assert folder.exists()
        assert (folder.stat().st_mode & 0o777) == 0o700
        running.process.send_signal(number)
        said, _ = running.process.communicate(timeout=20)
        assert running.process.returncode == 7
        assert json.loads(said) == {"signal": number}
        assert running.process.returncode == 7
        assert not folder.exists()


def test_the_child_dies_with_a_launcher_that_is_killed(measured: MeasuredPython) -> None:
    with Running(measured) as running:
        child = running.said["pid"]
        assert is_alive(child)
        running.process.kill()
        wait_until_dead(child)


def test_nothing_is_started_when_something_cannot_be_measured(measured: MeasuredPython, tmp_path: Path) -> None:
    done = measured.run("run", "tell", inputs=(tmp_path / "missing.toml",))
    assert done.returncode == os.EX_SOFTWARE
    assert "missing.toml" in done.stderr
    assert done.stdout == ""


def test_threat_32_no_secret_is_in_the_command_line_or_environment(measured: MeasuredPython) -> None:
    with Running(measured) as running:
        secret = (measured.state / "sealing.secret").read_bytes()
        for pid in (running.process.pid, running.said["pid"]):
            for name in ("cmdline", "environ"):
                shown = Path(f"/proc/{pid}/{name}").read_bytes()
                assert secret not in shown
                assert secret.hex().encode() not in shown


def test_another_system_is_refused_with_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    for function in (launch.run, launch.reference_values):
        with pytest.raises(Unsupported, match="darwin") as caught:
            function(["mitai-enclave"], [], tmp_path, {})
        assert "Linux" in caught.value.hint


def test_no_private_folder_is_left_behind_by_measuring(
    measured: MeasuredPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(launch, "accept_command", lambda given, _: measured.command(*given[1:]))
    launch.reference_values(["mitai-enclave", "tell"], [], measured.state, {})
    assert list(tmp_path.iterdir()) == []
