"""Each test runs a process that confines itself and then tries what a taken-over parser would try."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mitai_ingest import confine

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")

_PROBE = """
import ctypes, mmap, os, resource, signal, socket, sys, time
from mitai_ingest.confine import confine
target = sys.argv[2]
keep = os.open(os.devnull, os.O_WRONLY)
if sys.argv[1] == "confined":
    assert confine(1 << 30) is True
try:
    {attempt}
except (OSError, MemoryError, ValueError) as error:  # ValueError: how setrlimit says EPERM
    told = {{MemoryError: "memory", ValueError: "limit"}}
    os.write(1, f"refused {{told.get(type(error)) or error.errno}}".encode())
else:
    os.write(1, b"done")
"""


def probe(attempt: str, target: object = "", *, confined: bool = True) -> str:
    finished = subprocess.run(
        [sys.executable, "-c", _PROBE.format(attempt=attempt), "confined" if confined else "free", str(target)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return finished.stdout.decode()


@pytest.mark.parametrize(
    "attempt",
    [
        "open(target).close()",
        "open(target, 'a').close()",
        "os.listdir('/')",
        "os.stat(target)",
        "os.unlink(target)",
        "os.rename(target, target + 'x')",
        "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair()",
        "os._exit(0) if os.fork() == 0 else os.wait()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.pipe()",
        "os.memfd_create('x')",
    ],
)
def test_the_world_is_out_of_reach(tmp_path: Path, attempt: str) -> None:
    target = tmp_path / "secret.txt"
    target.write_text("secret", encoding="utf-8")
    assert probe(attempt, target) == "refused 1"  # EPERM
    assert target.read_text(encoding="utf-8") == "secret"


def test_the_probe_itself_works_unconfined(tmp_path: Path) -> None:
    target = tmp_path / "secret.txt"
    target.write_text("secret", encoding="utf-8")
    assert probe("open(target).close(); socket.socketpair(); os.pipe()", target, confined=False) == "done"


def test_computing_and_open_pipes_still_work() -> None:
    attempt = "os.write(keep, b'x' * 100); bytearray(50_000_000); time.time(); os.urandom(8); os.getpid()"
    assert probe(attempt) == "done"


def test_memory_is_capped() -> None:
    assert probe("bytearray(2 << 30)") == "refused memory"


def test_limits_cannot_be_raised_and_nothing_can_be_written_to_files(tmp_path: Path) -> None:
    assert probe("resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))") == "refused limit"
    # A file that was already open stays empty: the size limit, not the filter, stops this one.
    target = tmp_path / "open.txt"
    script = (
        "import os, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "from mitai_ingest.confine import confine; confine(1 << 30); os.write(f, b'leak')"
    )
    assert subprocess.run([sys.executable, "-c", script, target], capture_output=True, check=False).returncode != 0
    assert target.read_bytes() == b""


def test_a_process_with_threads_is_not_called_confined() -> None:
    script = (
        "import threading; from mitai_ingest.confine import confine\n"
        "stop = threading.Event(); threading.Thread(target=stop.wait).start()\n"
        "assert confine(2 << 30) is False; stop.set()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_an_unknown_machine_is_not_called_confined() -> None:
    script = (
        "import platform; platform.machine = lambda: 'riscv64'\n"
        "from mitai_ingest.confine import confine; assert confine(2 << 30) is False"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_no_number_is_given_to_two_calls() -> None:
    for column in (0, 1):
        numbers = [both[column] for both in confine._ALLOWED.values()]
        assert len(set(numbers)) == len(numbers)
