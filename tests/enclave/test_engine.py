from __future__ import annotations

import asyncio
import importlib.util
import marshal
import os
import shutil
import signal
import stat
import struct
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import mitai_enclave
from mitai_enclave.address import UnixAddress
from mitai_enclave.engine import ExternalEngine, Launch, Supervisor, Timing
from mitai_enclave.errors import EngineStartFailed, ModelChanged
from mitai_enclave.guard import children
from mitai_enclave.model import copy_model
from support.measured_python import make_measured_python
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = Path(__file__).parents[1] / "support" / "fake_engine.py"
QUICK = Timing(
    start=20, poll_starting=0.02, poll_running=0.05, probe=1, misses=2, backoff=0.05, backoff_most=0.2, settled=600
)


def supervise(
    folder: Path, *options: str, timing: Timing = QUICK, verify: Callable[[], None] = lambda: None
) -> Supervisor:
    socket = folder / "engine.sock"
    launch = Launch(
        command=[sys.executable, str(FAKE), "--uds", str(socket), *options],
        environment={"PATH": "/usr/bin:/bin"},
        folder=folder,
        socket=socket,
    )
    return Supervisor(launch, verify_model=verify, timing=timing)


def plant(source: Path, target: Path) -> None:
    """Write bytecode that the interpreter takes for `source` and that starts nothing."""
    found = source.stat()
    header = importlib.util.MAGIC_NUMBER + struct.pack("<III", 0, int(found.st_mtime), found.st_size)
    target.write_bytes(header + marshal.dumps(compile("print('planted')", str(source), "exec")))


def engine_pid(supervisor: Supervisor) -> int:
    assert supervisor.pid is not None
    (pid,) = children(supervisor.pid)
    return pid


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_an_engine_starts_is_healthy_and_leaves_nothing(short_path: Path) -> None:
    supervisor = supervise(short_path)
    assert not supervisor.healthy
    await supervisor.start()
    assert supervisor.healthy
    mode = (short_path / "engine.sock").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    pids = [supervisor.pid, engine_pid(supervisor)]
    await supervisor.stop()
    assert not supervisor.healthy
    assert not any(psutil.pid_exists(pid) for pid in pids if pid)
    assert not (short_path / "engine.sock").exists()
    await supervisor.stop()  # twice does no harm


async def test_an_engine_that_ends_at_once_says_why(short_path: Path) -> None:
    supervisor = supervise(short_path, "--fail")
    with pytest.raises(EngineStartFailed, match="ended") as caught:
        await supervisor.start()
    assert caught.value.output == ("fake engine: loading", "fake engine: no such model")
    assert supervisor.pid is None


async def test_an_engine_that_is_never_healthy_has_a_deadline(short_path: Path) -> None:
    timing = Timing(start=4, poll_starting=0.02)
    supervisor = supervise(short_path, "--deaf", timing=timing)
    with pytest.raises(EngineStartFailed, match="not healthy") as caught:
        await supervisor.start()
    assert caught.value.output == ("fake engine: loading",)
    assert supervisor.pid is None


async def test_output_is_thrown_away_once_the_engine_serves(short_path: Path) -> None:
    supervisor = supervise(short_path)
    await supervisor.start()
    watching = asyncio.create_task(supervisor.keep_running())
    await asyncio.sleep(0.3)  # looks at its health make it print
    assert supervisor._output == b""
    watching.cancel()
    await supervisor.stop()


async def test_a_crashed_engine_is_started_again_after_the_model_was_checked(short_path: Path) -> None:
    checks: list[bool] = []
    supervisor = supervise(short_path, verify=lambda: checks.append(supervisor.healthy))
    await supervisor.start()
    assert checks == [False]
    watching = asyncio.create_task(supervisor.keep_running())
    first = engine_pid(supervisor)
    os.kill(first, signal.SIGKILL)
    await until(lambda: not supervisor.healthy)
    await until(lambda: supervisor.healthy)
    assert engine_pid(supervisor) != first
    assert checks == [False, False, False]  # after the first load, before the restart, after it
    watching.cancel()
    await supervisor.stop()


async def test_a_hung_engine_is_started_again(short_path: Path) -> None:
    timing = Timing(start=20, poll_starting=0.02, poll_running=0.05, probe=0.2, misses=2, backoff=0.05)
    supervisor = supervise(short_path, timing=timing)
    await supervisor.start()
    watching = asyncio.create_task(supervisor.keep_running())
    first = engine_pid(supervisor)
    os.kill(first, signal.SIGSTOP)
    await until(lambda: not supervisor.healthy)
    os.kill(first, signal.SIGCONT)
    await until(lambda: supervisor.healthy)
    assert engine_pid(supervisor) != first
    watching.cancel()
    await supervisor.stop()


async def test_threat_45_a_model_swapped_while_the_engine_ran_ends_the_service(short_path: Path) -> None:
    source = short_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    (source / "weights").write_bytes(b"weights that were hashed")
    model = copy_model(source, short_path / "model")
    supervisor = supervise(short_path, "--exit-after", "0.3", verify=model.verify)
    await supervisor.start()
    (model.path / "weights").chmod(0o600)
    (model.path / "weights").write_bytes(b"weights of the operator!")
    with pytest.raises(ModelChanged):
        await asyncio.wait_for(supervisor.keep_running(), 20)
    assert not supervisor.healthy
    assert supervisor.pid is None


async def test_threat_45_a_model_swapped_before_the_first_load_is_never_served(short_path: Path) -> None:
    source = short_path / "source"
    source.mkdir()
    (source / "config.json").write_text("{}")
    model = copy_model(source, short_path / "model")
    (model.path / "config.json").chmod(0o600)
    (model.path / "config.json").write_text('{"swapped": true}')
    seen: list[tuple[bool, bool]] = []

    def verify() -> None:
        seen.append((supervisor.healthy, supervisor.pid is not None))
        model.verify()

    supervisor = supervise(short_path, verify=verify)
    with pytest.raises(ModelChanged):
        await supervisor.start()
    assert seen == [(False, True)]  # after the load, before anything is served
    assert not supervisor.healthy
    assert supervisor.pid is None


async def test_threat_45_a_swap_during_a_restart_ends_the_service(short_path: Path) -> None:
    checks: list[bool] = []

    def verify() -> None:
        checks.append(supervisor.healthy)
        if len(checks) == 3:  # 1: first load, 2: before the restart, 3: after it
            raise ModelChanged("swapped")

    supervisor = supervise(short_path, "--exit-after", "0.3", verify=verify)
    await supervisor.start()
    with pytest.raises(ModelChanged):
        await asyncio.wait_for(supervisor.keep_running(), 20)
    assert not supervisor.healthy
    assert supervisor.pid is None


async def test_threat_21_a_planted_bytecode_file_is_not_run_as_the_guard(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(mitai_enclave.__file__).parent
    python = make_measured_python(short_path)
    shutil.copytree(
        package, python.code / package.name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    source = python.code / package.name / "guard.py"
    planted = Path(importlib.util.cache_from_source(str(source)))
    inside = short_path / "bytecode" / planted.parent.parent.relative_to("/") / planted.name
    for target in (planted, inside):
        target.parent.mkdir(parents=True)
        plant(source, target)
    monkeypatch.setattr(sys, "executable", str(python.interpreter))
    supervisor = supervise(short_path)
    await supervisor.start()
    assert supervisor.pid is not None
    folder = short_path / "bytecode"
    assert f"pycache_prefix={folder}" in psutil.Process(supervisor.pid).cmdline()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    await supervisor.stop()


async def test_a_restart_that_fails_is_tried_again(short_path: Path) -> None:
    attempts: list[float] = []
    supervisor = supervise(short_path, verify=lambda: attempts.append(time.monotonic()))
    await supervisor.start()
    good = supervisor._launch
    bad = Launch([*good.command, "--fail"], good.environment, good.folder, good.socket)
    supervisor._launch = bad
    watching = asyncio.create_task(supervisor.keep_running())
    os.kill(engine_pid(supervisor), signal.SIGKILL)
    await until(lambda: len(attempts) >= 4)
    supervisor._launch = good
    await until(lambda: supervisor.healthy)
    assert attempts[2] - attempts[1] > 0.1  # the wait doubles
    watching.cancel()
    await supervisor.stop()


async def test_stopping_while_it_starts_leaves_nothing(short_path: Path) -> None:
    supervisor = supervise(short_path, "--slow", "60")
    starting = asyncio.create_task(supervisor.start())
    await until(lambda: supervisor.pid is not None and bool(children(supervisor.pid)))
    pid = engine_pid(supervisor)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not psutil.pid_exists(pid)


async def test_an_external_engine_is_healthy_while_it_answers(short_path: Path) -> None:
    path = short_path / "external.sock"
    engine = ExternalEngine(UnixAddress(path), poll=0.02)
    starting = asyncio.create_task(engine.start())
    await asyncio.sleep(0.1)
    assert not starting.done()
    async with UpstreamSimulator(path):
        await asyncio.wait_for(starting, 5)
        assert engine.healthy
        watching = asyncio.create_task(engine.keep_running())
    await until(lambda: not engine.healthy)
    watching.cancel()
