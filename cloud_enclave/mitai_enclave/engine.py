"""Is an engine running? Start it, wait for its health, start it again when it dies, leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from mitai_enclave import log
from mitai_enclave.address import UnixAddress
from mitai_enclave.child import python_command
from mitai_enclave.errors import EngineStartFailed
from mitai_enclave.guard import GRACE_SECONDS
from mitai_enclave.upstream import probe

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mitai_enclave.address import EngineAddress

_BYTECODE: Final = "bytecode"
_KEPT_LINES: Final = 40
_KEPT_BYTES: Final = 8192
_HEALTH_PATH: Final = b"/health"
_ANY_PATH: Final = b"/v1/models"


class Engine(Protocol):
    """What the sidecar needs to know of whatever answers."""

    @property
    def healthy(self) -> bool:
        """Whether requests may be forwarded now."""

    @property
    def address(self) -> EngineAddress:
        """Where it listens."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long the supervisor waits for what, in seconds.

    Attributes:
        start: Until a starting engine must be healthy.
        poll_starting: Between two looks at a starting engine.
        poll_running: Between two looks at a running engine.
        probe: Until an answer to a look.
        misses: Looks without an answer after which a running engine counts as hung.
        backoff: Before the first restart; doubles with each.
        backoff_most: The longest wait before a restart.
        settled: After so long in health, the next restart counts as the first.
    """

    start: float = 900.0
    poll_starting: float = 0.2
    poll_running: float = 2.0
    probe: float = 10.0
    misses: int = 6
    backoff: float = 1.0
    backoff_most: float = 60.0
    settled: float = 600.0


@dataclass(frozen=True, slots=True)
class Launch:
    """How the engine is started.

    Attributes:
        command: Program and arguments.
        environment: Its whole environment.
        folder: Its working folder.
        socket: Where it will listen.
    """

    command: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)
    folder: Path
    socket: Path


class Supervisor:
    """Runs an engine as a child process under `mitai_enclave.guard`.

    Args:
        launch: How to start it.
        verify_model: Runs in a thread after every load and before every restart; raises to forbid it.
        timing: How long to wait for what.
    """

    def __init__(self, launch: Launch, *, verify_model: Callable[[], None], timing: Timing | None = None) -> None:
        self._launch = launch
        self._verify_model = verify_model
        self._timing = timing or Timing()
        self._address = UnixAddress(launch.socket)
        self._process: Process | None = None
        self._output = b""
        self._reader: asyncio.Task[None] | None = None
        self._healthy = False
        self._attempt = 0

    @property
    def healthy(self) -> bool:
        """Whether the engine runs and answered the last look."""
        return self._healthy

    @property
    def address(self) -> UnixAddress:
        """The engine's socket."""
        return self._address

    @property
    def pid(self) -> int | None:
        """The guard's process id while one runs."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the engine and wait until it is healthy.

        Raises:
            EngineStartFailed: It ended, or was not healthy in time; nothing of it is left.
            ModelChanged: The private copy was swapped while the engine loaded it; nothing of it is left.
        """
        self._attempt += 1
        began = time.monotonic()
        log.emit("engine_starting", attempt=self._attempt)
        await self._spawn()
        try:
            await self._wait_until_healthy(began + self._timing.start)
            # The engine read the files after they were hashed: nothing is served before they are hashed again.
            await asyncio.to_thread(self._verify_model)
        except BaseException:
            await self.stop()
            raise
        # Later output can come from serving requests: it is read and thrown away.
        self._output = b""
        self._healthy = True
        log.emit("engine_healthy", attempt=self._attempt, seconds=round(time.monotonic() - began, 1))

    async def keep_running(self) -> None:
        """Watch a started engine and start it again whenever it dies, until cancelled.

        Raises:
            ModelChanged: The private copy is not what was hashed; no engine runs any more.
        """
        backoff = self._timing.backoff
        while True:
            began = time.monotonic()
            await self._watch()
            if time.monotonic() - began > self._timing.settled:
                backoff = self._timing.backoff
            while True:
                log.emit("engine_restarting", seconds=backoff, attempt=self._attempt + 1)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, self._timing.backoff_most)
                await asyncio.to_thread(self._verify_model)
                try:
                    await self.start()
                except EngineStartFailed:
                    continue
                break

    async def stop(self) -> None:
        """End the engine and wait until nothing of it is left. Does nothing when none runs."""
        self._healthy = False
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(2 * GRACE_SECONDS):
                await process.wait()
        except TimeoutError:
            log.emit("engine_guard_hung", pid=process.pid)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        if self._reader is not None:
            await self._reader
        self._launch.socket.unlink(missing_ok=True)

    async def _spawn(self) -> None:
        self._output = b""
        self._launch.socket.unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *python_command("mitai_enclave.guard", self._launch.folder / _BYTECODE),
            *self._launch.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=self._launch.folder,
            env=dict(self._launch.environment),
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read_output(self._process))

    async def _read_output(self, process: Process) -> None:
        stream = process.stdout
        while stream is not None:
            piece = await stream.read(_KEPT_BYTES)
            if not piece:
                return
            if not self._healthy:
                self._output = (self._output + piece)[-_KEPT_BYTES:]

    async def _wait_until_healthy(self, deadline: float) -> None:
        process = self._process
        while process is not None and process.returncode is None and time.monotonic() < deadline:
            if self._launch.socket.exists():
                self._launch.socket.chmod(0o600)
                if await probe(self._address, path=_HEALTH_PATH, seconds=self._timing.probe):
                    return
            await asyncio.sleep(self._timing.poll_starting)
        ended = process is None or process.returncode is not None
        if ended and self._reader is not None:
            await self._reader  # its last words
        reason = "ended before it was healthy" if ended else f"was not healthy after {self._timing.start:.0f} s"
        log.emit("engine_start_failed", reason="ended" if ended else "deadline", attempt=self._attempt)
        lines = self._output.decode("utf-8", "replace").splitlines()[-_KEPT_LINES:]
        raise EngineStartFailed(f"The engine {reason}.", output=tuple(lines))

    async def _watch(self) -> None:
        """Return when the engine has ended or hung; nothing of it is left then."""
        process, misses = self._process, 0
        while process is not None and process.returncode is None and misses < self._timing.misses:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.poll_running):
                    await process.wait()
            if process.returncode is None:
                answered = await probe(self._address, path=_HEALTH_PATH, seconds=self._timing.probe)
                misses = 0 if answered else misses + 1
        log.emit("engine_ended", exit_code=None if process is None else process.returncode)
        await self.stop()


class ExternalEngine:
    """Another OpenAI-compatible engine in the same TEE, which the sidecar did not start and cannot vouch for.

    Args:
        address: Where it listens.
        poll: Seconds between two looks.
        wait: How a look is made; the default asks for its models.
    """

    def __init__(
        self,
        address: EngineAddress,
        *,
        poll: float = 2.0,
        wait: Callable[[EngineAddress], Awaitable[bool]] | None = None,
    ) -> None:
        self._address = address
        self._poll = poll
        self._look = wait or _answers
        self._healthy = False

    @property
    def healthy(self) -> bool:
        """Whether it answered the last look."""
        return self._healthy

    @property
    def address(self) -> EngineAddress:
        """Where it listens."""
        return self._address

    async def start(self) -> None:
        """Wait until it answers for the first time."""
        while not await self._refresh():  # noqa: ASYNC110 - nobody tells us, so we look
            await asyncio.sleep(self._poll / 10)

    async def keep_running(self) -> None:
        """Look at it again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._poll)
            await self._refresh()

    async def stop(self) -> None:
        """Stop forwarding; the engine itself is not ours to stop."""
        self._healthy = False

    async def _refresh(self) -> bool:
        found = await self._look(self._address)
        if found != self._healthy:
            log.emit("engine_healthy" if found else "engine_ended", engine="external")
        self._healthy = found
        return found


async def _answers(address: EngineAddress) -> bool:
    return await probe(address, path=_ANY_PATH, seconds=5.0)
