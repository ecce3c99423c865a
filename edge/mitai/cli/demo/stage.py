"""Start and stop the cloud side of the demo as an operator would: by its commands, in processes of its own."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from mitai.errors import StageFailed
from mitai_crypto.policy_toml import policy_from_reference

if TYPE_CHECKING:
    from types import TracebackType

    from mitai_crypto.policy import TrustPolicy

SERVED_NAME = "smollm2-135m-instruct"
PRINCIPAL = "demo"
_START_SECONDS = 600
_STOP_SECONDS = 20
_SHOWN_LINES = 25


@dataclass
class Stage:
    """The enclave of the demo and the folder that holds everything it needs.

    Use it as a context manager: leaving it ends the processes and removes the folder.

    Attributes:
        model: Folder of the model that vLLM serves.
        folder: A private folder (0700) for keys, tokens, policy and knowledge base.
        url: Address of the sidecar once `wait_ready` returned.
        token: The API token of the demo's only principal.
    """

    model: Path
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="mitai-demo-")))
    url: str = ""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)
    _thread: threading.Thread | None = field(default=None, repr=False)
    _log: deque[str] = field(default_factory=lambda: deque(maxlen=_SHOWN_LINES), repr=False)

    @property
    def tokens_file(self) -> Path:
        """The token hashes that the service owner hands to the enclave."""
        return self.folder / "tokens.toml"

    @property
    def process_id(self) -> int | None:
        """The process id of the simulated TEE, once started."""
        return None if self._process is None else self._process.pid

    @property
    def runtime(self) -> Path:
        """The enclave's private folder."""
        return self.folder / "enclave"

    def __enter__(self) -> Self:
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        write_private(self.tokens_file, f'[[token]]\nprincipal = "{PRINCIPAL}"\nsha256 = "{digest}"\n')
        write_private(self.folder / "token", self.token + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def reference_policy(self) -> TrustPolicy:
        """Measure what is going to be started, without starting it, and return the policy that accepts only that.

        Raises:
            StageFailed: One of the two commands failed; the message ends with what it printed.
        """
        measured = self._output([*self._simulator("measure"), "--", *self._enclave("serve")])
        workload = self._output([_command("mitai-enclave"), *self._enclave("reference")[1:]])
        return policy_from_reference(name="demo", reference=measured, workload=workload)

    def start(self) -> None:
        """Start the simulated TEE with the enclave in it; return at once."""
        self._process = subprocess.Popen(
            [*self._simulator("run"), "--", *self._enclave("serve")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._drain, args=(self._process,), name="enclave-log", daemon=True)
        self._thread.start()

    def wait_ready(self) -> str:
        """Wait until the sidecar says that it and the engine are ready; return its address."""
        process = self._process
        if process is None or process.stdout is None:
            raise StageFailed("the enclave was not started")
        deadline = threading.Timer(_START_SECONDS, process.terminate)
        deadline.start()
        try:
            for line in process.stdout:
                if line.startswith("{") and (event := json.loads(line)).get("event") == "ready":
                    self.url = str(event["url"])
                    return self.url
        finally:
            deadline.cancel()
        tail = "\n".join(self._log)
        raise StageFailed(f"the enclave did not start; its last words were:\n{tail}")

    def wait_end(self) -> None:
        """Wait until the simulated TEE ends by itself, which it should not.

        Raises:
            StageFailed: It did.
        """
        if self._process is not None:
            self._process.wait()
            raise StageFailed(f"the enclave ended with exit code {self._process.returncode}")

    def stop(self) -> None:
        """End the simulated TEE and everything in it."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if self._thread is not None:
            self._thread.join()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None

    def _simulator(self, verb: str) -> list[str]:
        inputs = ["--input", str(self.model), "--input", str(self.tokens_file)]
        return [_command("mitai-sim"), verb, "--state", str(self.folder / "simulated-tee"), *inputs]

    def _enclave(self, verb: str) -> list[str]:
        return [
            "mitai-enclave", verb,
            "--model", str(self.model),
            "--served-name", SERVED_NAME,
            "--tee", "simulated",
            "--tokens", str(self.tokens_file),
            "--host", "127.0.0.1",
            "--port", "0",
            "--runtime-dir", str(self.runtime),
        ]  # fmt: skip

    def _output(self, command: list[str]) -> bytes:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise StageFailed(f"{' '.join(command[:2])} failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout

    def _drain(self, process: subprocess.Popen[str]) -> None:
        if process.stderr is not None:
            with process.stderr as stream:
                self._log.extend(stream)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read (0600), refusing to overwrite one."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)


def _command(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise StageFailed(
            f"the command {name} is not installed", hint="Install the extra: pip install 'mitai[enclave]'"
        )
    return found
