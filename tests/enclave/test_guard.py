from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from mitai_enclave.guard import children

if TYPE_CHECKING:
    import pytest

FAKE = Path(__file__).parents[1] / "support" / "fake_engine.py"


def start(short_path: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(FAKE), "--uds", str(short_path / "s"), *options]
    return subprocess.Popen(
        [sys.executable, "-I", "-m", "mitai_enclave.guard", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        time.sleep(0.02)


def assert_ends(pids: list[int]) -> None:
    deadline = time.monotonic() + 20
    while any(psutil.pid_exists(pid) for pid in pids):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.02)


def brood(short_path: Path) -> list[int]:
    wait_for(short_path / "brood")
    wait_for(short_path / "s")
    return [int(pid) for pid in (short_path / "brood").read_text().split()]


def close(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()


def test_when_the_pipe_closes_the_engine_and_its_orphans_end(short_path: Path) -> None:
    guard = start(short_path, "--brood", str(short_path / "brood"))
    pids = brood(short_path)
    close(guard)
    assert guard.wait(timeout=20) == 128 + signal.SIGTERM
    assert_ends(pids)


def test_when_the_sidecar_is_killed_the_engine_ends(short_path: Path) -> None:
    """The one who holds the pipe is killed outright, as by the kernel's out-of-memory killer."""
    program = (
        "import subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(3600)\n"
    )
    engine = [sys.executable, str(FAKE), "--uds", str(short_path / "s"), "--brood", str(short_path / "brood")]
    guard = [sys.executable, "-I", "-m", "mitai_enclave.guard", *engine]
    sidecar = subprocess.Popen([sys.executable, "-c", program, *guard], stdout=subprocess.DEVNULL)
    pids = brood(short_path)
    sidecar.kill()
    sidecar.wait()
    assert_ends(pids)


def test_an_engine_that_ends_takes_its_orphans_along(short_path: Path) -> None:
    guard = start(short_path, "--brood", str(short_path / "brood"), "--exit-after", "0.1")
    pids = brood(short_path)
    assert guard.wait(timeout=20) == 7
    assert_ends(pids)
    close(guard)


def test_a_stubborn_engine_is_killed_after_the_grace(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mitai_enclave import guard

    reader, writer = os.pipe()
    command = [sys.executable, str(FAKE), "--uds", str(short_path / "s"), "--stubborn"]
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os._exit(abs(guard.watch(command, reader, grace=0.3)))
    wait_for(short_path / "s")
    os.close(writer)
    os.close(reader)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == signal.SIGKILL


def test_no_core_dumps_and_private_files(short_path: Path) -> None:
    program = (
        "import os, resource, pathlib\n"
        f"p = pathlib.Path({str(short_path / 'out')!r}); p.write_text(str(resource.getrlimit(resource.RLIMIT_CORE)))\n"
    )
    guard = subprocess.Popen(
        [sys.executable, "-I", "-m", "mitai_enclave.guard", sys.executable, "-c", program], stdin=subprocess.PIPE
    )
    assert guard.wait(timeout=20) == 0
    close(guard)
    assert (short_path / "out").read_text() in {"(1, 1)", "(0, 0)"}
    assert (short_path / "out").stat().st_mode & 0o777 == 0o600


def test_threat_16_shared_memory_of_a_killed_engine_is_removed(short_path: Path) -> None:
    program = (
        "import os, sys, time\n"
        "from multiprocessing import shared_memory, resource_tracker\n"
        "block = shared_memory.SharedMemory(create=True, size=4096)\n"
        "resource_tracker.unregister(block._name, 'shared_memory')\n"  # nobody else will clean up
        "block.buf[:7] = b'7731-xx'\n"
        "open(sys.argv[1], 'w').write(block.name)\n"
        "time.sleep(3600)\n"
    )
    out = short_path / "name"
    guard = subprocess.Popen(
        [sys.executable, "-I", "-m", "mitai_enclave.guard", sys.executable, "-c", program, str(out)],
        stdin=subprocess.PIPE,
    )
    wait_for(out)
    while not out.read_text():
        time.sleep(0.02)
    block = Path("/dev/shm") / out.read_text()  # noqa: S108 - where the kernel shows it
    assert block.exists()
    close(guard)
    guard.wait(timeout=20)
    assert not block.exists()


def test_children_are_found() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert child.pid in children(os.getpid())
    close(child)
    child.wait()
    assert child.pid not in children(os.getpid())
