"""A process between sidecar and engine whose one duty is that the engine never outlives the sidecar.

Run as `python -I -m mitai_enclave.guard COMMAND…` with a pipe as standard input that the sidecar never writes
to. When the pipe closes, because the sidecar wants it or was killed, the engine gets SIGTERM, and later
SIGKILL reaches everything that it started: its orphans become the guard's children (PR_SET_CHILD_SUBREAPER).

Only the standard library is imported, so that starting it costs milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE_SECONDS: Final = 10.0
_PR_SET_CHILD_SUBREAPER: Final = 36
_SIGNALLED: Final = 128  # a shell's way to show that a signal ended a process
_ROUND_SECONDS: Final = 0.01
_ORPHAN_SECONDS: Final = 3.0
_LOOK_MILLISECONDS: Final = 5000
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the kernel's name for it


def harden() -> None:
    """Forbid core dumps to this process and all it starts, and keep new files private.

    A limit of 1 byte, not 0: for dumps that are piped to a program the kernel ignores every limit but 1.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    limit = 0 if hard == 0 else 1
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
    os.umask(0o077)


def children(pid: int) -> list[int]:
    """Return the ids of the living children of `pid`, zombies left out."""
    return _living().get(pid, [])


def descendants(pid: int) -> list[int]:
    """Return the ids of everything alive below `pid`."""
    living, found = _living(), [pid]
    for parent in found:  # grows while it is walked
        found += living.get(parent, [])
    return found[1:]


def shared_memory(pids: Iterable[int]) -> set[Path]:
    """Return the POSIX shared memory that these processes have mapped.

    vLLM hands requests between its processes through it, so whatever is left there is plaintext.
    """
    found = set()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
        except OSError:
            continue  # it ended while we looked
        paths = {Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/" in line}  # noqa: S108 - only read
        found |= {path for path in paths if path.parent == _SHARED_MEMORY}
    return found


def stop_tree(engine: subprocess.Popen[bytes], grace: float) -> None:
    """End the engine politely, then everything that is left of it, until nothing is.

    What it leaves gets a moment of its own: Python's resource tracker, for one, outlives its parent to clean up.
    """
    engine.terminate()
    try:
        engine.wait(timeout=grace)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()
    deadline = time.monotonic() + min(grace, _ORPHAN_SECONDS)
    while left := children(os.getpid()):
        if time.monotonic() >= deadline:
            for child in left:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(_ROUND_SECONDS)


def watch(command: list[str], lifeline: int, *, grace: float = GRACE_SECONDS) -> int:
    """Run `command` until it ends or `lifeline` closes; then nothing of it is left.

    Args:
        command: What to start.
        lifeline: File descriptor that becomes readable (end of file) when the sidecar is gone.
        grace: Seconds between SIGTERM and SIGKILL.

    Returns:
        The command's exit status, negative for a signal.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    engine = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ended = os.pidfd_open(engine.pid)
    poller = select.poll()
    poller.register(lifeline, select.POLLIN | select.POLLHUP)
    poller.register(ended, select.POLLIN)
    shared: set[Path] = set()
    while not poller.poll(_LOOK_MILLISECONDS):
        # Remembered while it lives: of an engine that was killed nobody could tell any more.
        shared |= shared_memory(descendants(os.getpid()))
    os.close(ended)
    shared |= shared_memory(descendants(os.getpid()))
    stop_tree(engine, grace)
    for path in shared:
        path.unlink(missing_ok=True)
    return engine.wait()


def _living() -> dict[int, list[int]]:
    """Return the children of every process, by its id."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; the fields begin behind its last bracket.
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it ended while we looked
        if state != "Z":
            found.setdefault(int(parent), []).append(int(entry.parent.name))
    return found


def main() -> int:
    """Read the command from the command line and watch over it."""
    harden()
    status = watch(sys.argv[1:], sys.stdin.fileno())
    return status if status >= 0 else _SIGNALLED - status


if __name__ == "__main__":
    sys.exit(main())
