"""Are the workers running? Start them, start them again when they die, drain them, leave none behind."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import time
from asyncio import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_enclave import log
from mitai_enclave.channel import open_channel
from mitai_enclave.child import python_command
from mitai_enclave.errors import WorkerStartFailed
from mitai_enclave.listen import DRAIN_SECONDS, rejoin

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mitai_enclave.keeper import WorkerSession

_MODULE: Final = "mitai_enclave.worker"
_ENVIRONMENT: Final = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}
_LAST_SECONDS: Final = 2.0  # for a process whose channel is over, and beyond the drain


@dataclass(frozen=True, slots=True)
class PoolTiming:
    """How long the pool waits for what, in seconds.

    Attributes:
        start: Until every worker must be ready for the first time.
        pause: Before a worker is started again; doubles with each time.
        pause_most: The longest pause.
        settled: After so long in service the next pause is the first again.
    """

    start: float = 60.0
    pause: float = 0.1
    pause_most: float = 30.0
    settled: float = 60.0


class WorkerPool:
    """The worker processes of one replica.

    Args:
        listeners: One for each worker; the pool closes them.
        new_session: Makes the keeper's end of a worker's channel, given what to call at its end.
        prepare_listener: Is given each socket that is opened again.
        folder: Private folder for their bytecode.
        timing: How long to wait for what.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        new_session: Callable[[Callable[[], None]], WorkerSession],
        *,
        prepare_listener: Callable[[socket.socket], None],
        folder: Path,
        timing: PoolTiming | None = None,
    ) -> None:
        self._address = listeners[0].getsockname()[:2]
        self._listeners: list[socket.socket | None] = list(listeners)
        self._new_session = new_session
        self._prepare_listener = prepare_listener
        self._folder = folder
        self._timing = timing or PoolTiming()
        self._stop = asyncio.Event()
        self._ready = [asyncio.Event() for _ in listeners]
        self._processes: dict[int, Process] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that run now."""
        return [process.pid for process in self._processes.values()]

    async def start(self) -> None:
        """Start every worker and wait until all are ready.

        Raises:
            WorkerStartFailed: They are not in time.
        """
        self._tasks = [asyncio.create_task(self._keep(index)) for index in range(len(self._listeners))]
        try:
            async with asyncio.timeout(self._timing.start):
                await asyncio.gather(*(ready.wait() for ready in self._ready))
        except TimeoutError:
            raise WorkerStartFailed(f"A worker was not ready after {self._timing.start:.0f} s.") from None

    async def keep_running(self) -> None:
        """Wait as long as the workers are kept."""
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        """Let every worker finish what it has begun, and wait until none is left."""
        self._stop.set()
        self._close_listeners()
        for process in self._processes.values():
            _terminate(process)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS + _LAST_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _close_listeners(self) -> None:
        for index, listener in enumerate(self._listeners):
            if listener is not None:
                listener.close()
            self._listeners[index] = None

    async def _keep(self, index: int) -> None:
        pause = self._timing.pause
        while not self._stop.is_set():
            began = time.monotonic()
            was_ready = await self._try(index)
            if self._stop.is_set():
                return
            if not was_ready:
                # Nobody can say when it will be back: its connections go to the others from now on.
                self._close(index)
            if time.monotonic() - began > self._timing.settled:
                pause = self._timing.pause
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            pause = min(2 * pause, self._timing.pause_most)

    async def _try(self, index: int) -> bool:
        """Run a worker to its end; tell whether it had become ready."""
        try:
            return await self._run(index, self._open(index))
        except OSError as error:  # no process, or no socket, to be had now
            log.emit("worker_not_started", level=logging.ERROR, error=type(error).__name__)
            return False

    def _open(self, index: int) -> socket.socket:
        listener = self._listeners[index]
        if listener is None:
            # Not listening: until the worker does, it must not be dealt a connection.
            listener = rejoin(self._address)
            self._prepare_listener(listener)
            self._listeners[index] = listener
        return listener

    def _close(self, index: int) -> None:
        listener, self._listeners[index] = self._listeners[index], None
        if listener is not None:
            listener.close()

    async def _run(self, index: int, listener: socket.socket) -> bool:
        """Run one worker process to its end; tell whether it had become ready."""
        over = asyncio.Event()
        session = self._new_session(over.set)
        ours, theirs = socket.socketpair()
        bytecode = self._folder / f"worker-{index}"
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *python_command(_MODULE, bytecode),
                str(listener.fileno()),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
        self._processes[index] = process
        if self._stop.is_set():
            _terminate(process)
        ended = asyncio.create_task(process.wait())
        waiting = [ended, asyncio.create_task(over.wait()), asyncio.create_task(self._announce(index, session))]
        try:
            await open_channel(ours, session.channel)
            session.greet()
            await asyncio.wait(waiting[:2], return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait([ended], timeout=_LAST_SECONDS)
        finally:
            session.channel.close()
            with suppress(ProcessLookupError):
                process.kill()
            code = await ended
            for task in waiting:
                task.cancel()
            del self._processes[index]
            shutil.rmtree(bytecode, ignore_errors=True)
            log.emit("worker_ended", pid=process.pid, exit_code=code)
        return session.ready.is_set()

    async def _announce(self, index: int, session: WorkerSession) -> None:
        await session.ready.wait()
        self._ready[index].set()


def _terminate(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
