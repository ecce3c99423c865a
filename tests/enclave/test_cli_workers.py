"""A replica of several processes as an operator runs it: launched and measured, drained, and killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from support.launched import launched
from support.sealed_client import TOKEN
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from pathlib import Path

    from support.upstream_simulator import UpstreamSimulator

TEXT = "The retention period is 14 days. 保存期限为十四天。"
WORKERS = 3


def assert_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 20
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        assert time.monotonic() < deadline, "something serves on"
        time.sleep(0.02)


async def test_a_signal_drains_every_worker_and_leaves_nothing(short_path: Path, engine: UpstreamSimulator) -> None:
    async with launched(short_path, engine.path, "--workers", str(WORKERS)) as running:
        workers = running.workers()
        assert len(workers) == WORKERS
        engine.behaviour = Behaviour(pause=0.1)
        chats = [asyncio.create_task(asyncio.to_thread(running.chat)) for _ in range(6)]
        async with asyncio.timeout(20):
            while len(engine.calls) < len(chats):  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.02)
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.gather(*chats) == [TEXT] * len(chats)
        assert await asyncio.wait_for(running.process.wait(), 30) == 0
        assert_gone(workers)
    log = (short_path / "err").read_text()
    assert TOKEN not in log
    assert "Traceback" not in log
    assert json.loads(log.splitlines()[-1])["event"] == "stopped"


@pytest.mark.parametrize("hung", [False, True])
async def test_when_the_keeper_is_killed_no_worker_serves_on(
    short_path: Path, engine: UpstreamSimulator, *, hung: bool
) -> None:
    async with launched(short_path, engine.path, "--workers", str(WORKERS)) as running:
        assert await asyncio.to_thread(running.chat) == TEXT
        workers = running.workers()
        for worker in workers:
            if hung:  # it cannot notice anything by itself
                worker.suspend()
        running.keeper.kill()
        await asyncio.to_thread(assert_gone, workers)


def test_a_worker_alone_does_nothing() -> None:
    """Without the descriptors there is nothing to serve, and nothing to ask for them with."""
    command = [sys.executable, "-I", "-m", "mitai_enclave.worker"]
    for argv in ([], ["not-a-number"], ["99"], ["1"]):
        done = subprocess.run(
            [*command, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2
        assert "worker_without_keeper" in done.stderr
        assert "Traceback" not in done.stderr
