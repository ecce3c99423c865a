"""How does what was measured become exactly what runs? (`docs/spec/simulated_tee.md` §5)."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import TEE_SOCKET_VARIABLE
from mitai_crypto.simulated_log import replay
from mitai_sim.attest import Attester
from mitai_sim.command import accept_command, interpreter_options
from mitai_sim.errors import Unsupported
from mitai_sim.measure import measure
from mitai_sim.root import load_machine
from mitai_sim.socket_server import TeeServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from mitai_crypto.strict_json import JsonObject
    from mitai_sim.command import Command

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_SIGNALLED: Final = 128  # a shell's exit code for "ended by signal n" is 128 + n
_NOT_STARTED: Final = 127


def reference_values(
    given: Sequence[str], inputs: Sequence[str], state: Path, environment: Mapping[str, str]
) -> JsonObject:
    """Measure what `run` would start, and start nothing.

    Args:
        given: The command line after `--`.
        inputs: Files and folders that are measured by content.
        state: Folder of the machine's root.
        environment: Usually `os.environ`.

    Returns:
        The object of `docs/spec/policy.md`, which a policy is made from.

    Raises:
        SimulationError: The command is refused, something cannot be measured, or the root is unusable.
    """
    _require_linux()
    command = accept_command(given, environment)
    now = _now()
    machine = load_machine(state, now=now)
    with _private_folder() as folder:
        events = measure(command, inputs, folder / "bytecode")
    return {
        "tee": TeeKind.SIMULATED.value,
        "root": machine.root.fingerprint,
        "registers": dict(replay(events)),
        "issued": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def run(given: Sequence[str], inputs: Sequence[str], state: Path, environment: Mapping[str, str]) -> int:
    """Measure a command, run it as a child, and answer its requests until it ends.

    Arguments are those of `reference_values`.

    Returns:
        The child's exit code, or 128 + n where signal n ended it.

    Raises:
        SimulationError: As `reference_values`; nothing has been started then.
    """
    _require_linux()
    command = accept_command(given, environment)
    machine = load_machine(state, now=_now())
    with _private_folder() as folder:
        attester = Attester(machine, measure(command, inputs, folder / "bytecode"))
        server = TeeServer(folder / "tee.sock", attester, _now)
        try:
            return _run_child(command, folder, server)
        finally:
            server.close()


def _run_child(command: Command, folder: Path, server: TeeServer) -> int:
    pending: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def forward(number: int, _frame: FrameType | None) -> None:
        if child is None:
            pending.append(number)
        else:
            child.send_signal(number)

    previous = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        child = subprocess.Popen(
            [command.interpreter, *interpreter_options(folder / "bytecode"), *command.argv],
            env={**command.environment, TEE_SOCKET_VARIABLE: str(folder / "tee.sock")},
            # Safe here: the launcher has one thread until `serve`, and the hook only makes two system calls.
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509
        )
        try:
            server.serve(child.pid)
            for number in pending:
                child.send_signal(number)
            code = child.wait()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return code if code >= 0 else _SIGNALLED - code


def _die_with(launcher: int) -> Callable[[], None]:
    """Return what makes the child die with the launcher, also when that is killed outright."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved before the fork

    def arm() -> None:
        armed = prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
        if not armed or os.getppid() != launcher:  # the launcher may have died before the call
            os._exit(_NOT_STARTED)

    return arm


@contextmanager
def _private_folder() -> Iterator[Path]:
    """Make a folder that only this user can enter, and remove it in the end."""
    folder = Path(tempfile.mkdtemp(prefix="mitai-sim-"))  # mode 0700
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _require_linux() -> None:
    if sys.platform != "linux":
        raise Unsupported(f"the simulated TEE does not run on {sys.platform}")


def _now() -> int:
    return int(time.time())
