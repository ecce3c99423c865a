"""Two replicas behind a real Envoy with the configuration of `deploy/envoy`: routing, rotation, streaming, failure."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

import support.sidecar
from mitai.enclave import EnclaveClient
from mitai.errors import IncompleteAnswer
from mitai_crypto.labels import MEDIA_TYPE_REQUEST, PROBLEM_OHTTP_KEY
from mitai_enclave.config import Limits
from support.evidence_builder import build_enclave
from support.sealed_client import TOKEN, chat_body, inner_request, post
from support.traffic import TEXT, policy_for, run_through_rotations
from support.upstream_simulator import Behaviour, UpstreamSimulator
from support.workers import BuiltAttester, running_workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mitai_crypto.policy import TrustPolicy
    from support.workers import Workers

ENVOY = Path(sys.executable).parent / "envoy"
EXAMPLE = Path(__file__).parents[2] / "deploy" / "envoy" / "replicas.yaml"
LIMITS = Limits(attestations_per_second=1000, attestations_burst=1000)
ROTATING = Limits(rotation_seconds=2, attestations_per_second=1000, attestations_burst=1000)

pytestmark = pytest.mark.skipif(not ENVOY.exists(), reason="no Envoy is installed")


@dataclass
class Front:
    """Envoy and what is behind it."""

    url: str
    replicas: list[Workers]
    engines: list[UpstreamSimulator]
    policy: TrustPolicy

    def client(self) -> EnclaveClient:
        return EnclaveClient(self.url, policy=self.policy, token=TOKEN, timeout=20)

    def replica_of(self, client: EnclaveClient) -> int:
        """The index of the replica whose evidence this client holds."""
        found = client.verify().material.receipt_key
        keys = [one.identity.receipt_key.public_key().public_bytes_raw() for one in self.replicas]
        return keys.index(found)


@asynccontextmanager
async def front(folder: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits = LIMITS) -> AsyncIterator[Front]:
    """Two replicas of two processes each, behind Envoy."""
    machine = build_enclave(now=int(time.time()))
    monkeypatch.setattr(support.sidecar, "RecordedAttester", lambda: BuiltAttester(machine))
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(UpstreamSimulator(folder / f"e{index}")) for index in range(2)]
        replicas = [
            await stack.enter_async_context(running_workers(engine, 2, limits, key_prefix=str(index)))
            for index, engine in enumerate(engines)
        ]
        url = await stack.enter_async_context(envoy(folder, replicas))
        yield Front(url, replicas, engines, policy_for(machine, replicas[0]))


@asynccontextmanager
async def envoy(folder: Path, replicas: list[Workers]) -> AsyncIterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    text = EXAMPLE.read_text(encoding="utf-8")
    ports = {8000: port, 8001: int(replicas[0].url.rsplit(":", 1)[1]), 8002: int(replicas[1].url.rsplit(":", 1)[1])}
    for example, real in ports.items():
        assert text.count(f"port_value: {example} ") == 1
        text = text.replace(f"port_value: {example} ", f"port_value: {real} ")
    config = folder / "replicas.yaml"
    config.write_text(text, encoding="utf-8")
    options = ["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "critical", "--drain-time-s", "1"]
    process = await asyncio.create_subprocess_exec(str(ENVOY), "-c", str(config), *options)
    try:
        url = f"http://127.0.0.1:{port}"
        async with asyncio.timeout(30), httpx.AsyncClient(base_url=url) as client:
            while not await answers(client):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.1)
        yield url
    finally:
        process.kill()
        await process.wait()


async def answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


def ask(client: EnclaveClient) -> str:
    return "".join(client.chat([{"role": "user", "content": "保存多久？"}]))


async def test_threat_30_no_request_fails_while_the_keys_of_both_replicas_rotate(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(short_path, monkeypatch, ROTATING) as running:
        traffics = await run_through_rotations(running.replicas[0], running.policy, running.url)
    answered = sum(traffic.answers for traffic in traffics)
    assert answered == sum(len(engine.calls) for engine in running.engines)
    assert all(len(engine.calls) > answered // 10 for engine in running.engines)
    # A key problem may only come from a key that was dropped on the way, never from a wrong turn.
    assert sum(traffic.sealings for traffic in traffics) - answered <= 0.05 * answered


async def test_threat_02_bytes_for_one_replica_do_nothing_at_the_other(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(short_path, monkeypatch) as running:
        first, second = running.replicas
        sealed = first.seal()
        fingerprint = sealed.config.fingerprint
        assert fingerprint.startswith("0")
        async with httpx.AsyncClient(base_url=running.url, timeout=20) as client:
            path = f"/mitai/ohttp/{fingerprint}"
            assert first.open(sealed, await post(client, sealed.message, path)).status == 200
            for wrong in (
                await post(client, sealed.message, f"/mitai/ohttp/1{fingerprint[1:]}"),
                await post(second.client, sealed.message),
                await post(second.client, sealed.message, path),
            ):
                assert wrong.status_code == 400
                assert wrong.json()["type"] == PROBLEM_OHTTP_KEY
            again = first.open(sealed, await post(client, sealed.message, path))
            assert again.code == "replayed_request"
        assert [len(engine.calls) for engine in running.engines] == [1, 0]
        materials = {hashlib.sha256(one.epochs.current.material).digest() for one in running.replicas}
        assert len(materials) == 2
        assert first.parts.salt_secret != second.parts.salt_secret


async def test_threat_34_behind_envoy_pieces_come_as_they_are_made(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(short_path, monkeypatch) as running:
        replica, engine = running.replicas[0], running.engines[0]
        engine.behaviour = Behaviour(words=("first", *["."] * 1000), pause=0.05)
        sealed = replica.seal(inner_request(chat_body(stream=True)))
        seen = b""
        async with (
            asyncio.timeout(20),
            httpx.AsyncClient(base_url=running.url, timeout=20) as client,
            client.stream(
                "POST",
                f"/mitai/ohttp/{sealed.config.fingerprint}",
                content=sealed.message,
                headers={"content-type": MEDIA_TYPE_REQUEST},
            ) as response,
        ):
            async for piece in response.aiter_bytes():
                seen += sealed.sealed.opener.feed(piece)
                if b"first" in seen:
                    break
        # The last byte would take another 50 s to be made; and leaving stops the engine, through Envoy too.
        async with asyncio.timeout(20):
            while not engine.calls[0].aborted:  # noqa: ASYNC110 - the engine has no event for it
                await asyncio.sleep(0.02)


async def test_threat_34_behind_envoy_a_cut_is_never_a_short_answer(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with front(short_path, monkeypatch) as running:
        for engine in running.engines:
            engine.behaviour = Behaviour(pause=0.2)

        def cut() -> None:
            with running.client() as client:
                index = running.replica_of(client)
                stream = client.chat([{"role": "user", "content": "保存多久？"}])
                first = next(stream)
                assert TEXT.startswith(first)
                for pid in running.replicas[index].pool.pids:
                    os.kill(pid, signal.SIGKILL)
                "".join(stream)

        with pytest.raises(IncompleteAnswer):
            await asyncio.to_thread(cut)


@pytest.mark.parametrize("ended", [0, 1])
async def test_clients_of_a_replica_that_ends_go_on_at_the_other(
    short_path: Path, monkeypatch: pytest.MonkeyPatch, ended: int
) -> None:
    async with front(short_path, monkeypatch) as running:
        clients = [running.client() for _ in range(6)]
        homes = [await asyncio.to_thread(running.replica_of, client) for client in clients]
        assert set(homes) == {0, 1}
        assert [await asyncio.to_thread(ask, client) for client in clients] == [TEXT] * 6
        assert [len(engine.calls) for engine in running.engines] == [homes.count(0), homes.count(1)]
        await running.replicas[ended].pool.stop()
        # The wrong replica's answer to what only the first could open: fresh evidence, one resend.
        assert [await asyncio.to_thread(ask, client) for client in clients] == [TEXT] * 6
        left = 1 - ended
        assert [await asyncio.to_thread(running.replica_of, client) for client in clients] == [left] * 6
        assert len(running.engines[left].calls) == homes.count(left) + 6
        for client in clients:
            client.close()
