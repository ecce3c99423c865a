from __future__ import annotations

import asyncio
import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from mitai_crypto.errors import TeeUnavailable
from mitai_enclave import server
from mitai_enclave.config import Settings
from mitai_enclave.errors import EngineStartFailed
from support.sidecar import RecordedAttester, settings_for
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from mitai_enclave.server import Ready


@pytest.fixture(autouse=True)
def recorded_attester(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "select_attester", lambda _: RecordedAttester())


async def test_health_is_served_before_the_engine_is_there_and_a_signal_ends_it(short_path: Path) -> None:
    simulator = UpstreamSimulator(short_path / "engine.sock")
    announced: asyncio.Queue[Ready] = asyncio.Queue()
    running = asyncio.create_task(server.serve(settings_for(simulator), announced.put_nowait))
    await asyncio.sleep(0.3)
    assert announced.empty()
    async with simulator:
        ready = await asyncio.wait_for(announced.get(), 10)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{ready.url}/healthz")).status_code == 200
            assert (await client.get(f"{ready.metrics}/metrics")).status_code == 200
            assert (await client.get(f"{ready.metrics}/healthz")).status_code == 404
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)


@pytest.mark.skipif(find_spec("vllm") is None, reason="no vLLM is installed")
async def test_an_engine_that_does_not_start_ends_the_service_and_leaves_nothing(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Path(__file__).parents[1] / "support" / "fake_engine.py"
    (short_path / "model").mkdir()
    (short_path / "model" / "config.json").write_text("{}")

    def command(*_: object, socket: Path, **__: object) -> list[str]:
        return [sys.executable, str(fake), "--uds", str(socket), "--fail"]

    monkeypatch.setattr(server, "engine_command", command)
    tokens = settings_for(UpstreamSimulator(short_path / "none")).tokens
    settings = Settings(
        served_name="m", tokens=tokens, model=str(short_path / "model"), runtime_dir=short_path / "runtime"
    )
    with pytest.raises(EngineStartFailed) as caught:
        await server.serve(settings, lambda _: None)
    assert "no such model" in caught.value.output[-1]
    assert list((short_path / "runtime").iterdir()) == []


async def test_without_a_tee_nothing_starts(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: object) -> None:
        raise TeeUnavailable("none here")

    monkeypatch.setattr(server, "select_attester", none)
    with pytest.raises(TeeUnavailable):
        await server.serve(settings_for(UpstreamSimulator(short_path / "none")), lambda _: None)
