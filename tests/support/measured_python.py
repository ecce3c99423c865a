"""A small virtual environment with copies of our packages, so that a test may change a byte of what is measured.

Its `mitai_enclave` is a program that talks to the launcher's socket as the real one does, and tells what it sees.
"""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

import mitai_crypto
import mitai_sim
from mitai_sim.command import Command

ENCLAVE = """
import json, os, signal, socket, subprocess, sys, time
from mitai_enclave import marker

def ask(request):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(os.environ["MITAI_TEE_SOCKET"])
        peer.sendall(json.dumps(request).encode() + b"\\n")
        answer = b""
        while piece := peer.recv(65536):
            answer += piece
        return json.loads(answer)

def say(**values):
    os.write(1, json.dumps(values).encode() + b"\\n")  # print() must not be entered by a signal handler

what, *rest = sys.argv[1:]
if what == "tell":
    say(argv=sys.argv[1:], environment=dict(os.environ), flags=[sys.flags.isolated, sys.flags.no_user_site],
        marker=marker.VALUE, fds=sorted(os.listdir("/proc/self/fd"), key=int)[:-1])
elif what == "ask":
    say(**ask(json.loads(rest[0])))
elif what == "ask-from-grandchild":
    subprocess.run([sys.executable, "-I", "-m", "mitai_enclave", "ask", rest[0]], check=True)
elif what == "exit":
    sys.exit(int(rest[0]))
elif what == "die":
    os.kill(os.getpid(), int(rest[0]))
elif what == "wait":
    def stop(number, frame):
        say(signal=number)
        sys.exit(7)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    say(pid=os.getpid(), socket=os.environ["MITAI_TEE_SOCKET"])
    time.sleep(60)
"""


@dataclass(frozen=True)
class MeasuredPython:
    """The environment and where its parts are."""

    folder: Path
    interpreter: Path
    code: Path
    site_packages: Path
    state: Path

    def command(self, *given: str, environment: dict[str, str] | None = None) -> Command:
        """Give an accepted command that this environment's interpreter would run."""
        return Command(("mitai-enclave", *given), environment or {}, str(self.interpreter))

    def argv(self, verb: str, *given: str, inputs: tuple[Path, ...] = ()) -> list[str]:
        """Give the command line of `mitai-sim` in this environment."""
        listed = [part for path in inputs for part in ("--input", str(path))]
        state = ["--state", str(self.state)]
        return [str(self.interpreter), "-m", "mitai_sim", verb, *state, *listed, "--", "mitai-enclave", *given]

    def run(
        self, verb: str, *given: str, inputs: tuple[Path, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `mitai-sim` to its end."""
        return subprocess.run(
            self.argv(verb, *given, inputs=inputs),
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def registers(self, *given: str, inputs: tuple[Path, ...] = (), **environment: str) -> dict[str, str]:
        """Give what `mitai-sim measure` prints for a command."""
        done = self.run("measure", *given, inputs=inputs, **environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["registers"]


def make_measured_python(folder: Path) -> MeasuredPython:
    """Make the environment in an empty folder."""
    venv.create(folder / "venv", symlinks=True, with_pip=False)
    code = folder / "code"
    for package in (mitai_crypto, mitai_sim):
        source = Path(package.__file__ or "").parent
        shutil.copytree(source, code / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    enclave = code / "mitai_enclave"
    enclave.mkdir()
    (enclave / "__init__.py").write_text('"""A program under test."""\n')
    (enclave / "__main__.py").write_text(ENCLAVE)
    (enclave / "marker.py").write_text('VALUE = "source"\n')
    site_packages = next((folder / "venv").glob("lib/python*/site-packages"))
    lines = [str(code), *site.getsitepackages()]
    (site_packages / "measured.pth").write_text("\n".join(lines) + "\n")
    return MeasuredPython(folder, folder / "venv" / "bin" / "python", code, site_packages, folder / "state")
