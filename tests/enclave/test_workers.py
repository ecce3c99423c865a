"""A replica of several processes: what a client, an operator and an attacker see of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest

from mitai_crypto.evidence import parse_bundle
from mitai_crypto.labels import ATTESTATION_PATH, MEDIA_TYPE_REQUEST
from mitai_enclave.config import Limits
from support.sealed_client import TOKEN, base64url, chat_body, inner_request, post
from support.upstream_simulator import Behaviour
from support.workers import running_workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mitai_enclave.keeper import WorkerSession
    from support.upstream_simulator import UpstreamSimulator
    from support.workers import Workers

HEADERS = {"content-type": MEDIA_TYPE_REQUEST}


@pytest.fixture
async def workers(engine: UpstreamSimulator) -> AsyncIterator[Workers]:
    async with running_workers(engine, 4) as running:
        yield running


async def post_alone(workers: Workers, message: bytes) -> httpx.Response:
    """Post over a connection of its own, so that the kernel deals it to any worker."""
    async with httpx.AsyncClient(base_url=workers.url, timeout=30) as client:
        return await post(client, message)


async def until(condition: object, *, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator] # noqa: ASYNC110 - processes have no event for it
            await asyncio.sleep(0.02)


async def test_every_worker_serves_with_the_same_keys_and_salt(workers: Workers, engine: UpstreamSimulator) -> None:
    for _ in range(24):
        sealed = workers.seal(inner_request(chat_body(stream=True)))
        assert workers.open(sealed, await post_alone(workers, sealed.message)).status == 200
    assert len({call.document["cache_salt"] for call in engine.calls}) == 1
    assert len(engine.calls) == 24


async def test_threat_02_the_same_bytes_at_all_workers_at_once_run_once(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.02)
    async with running_workers(engine, 4, Limits(reading=128)) as workers:
        sealed = workers.seal(inner_request(chat_body(stream=True)))
        answers = await asyncio.gather(*(post_alone(workers, sealed.message) for _ in range(100)))
        opened = [workers.open(sealed, answer) for answer in answers]
    assert sorted(one.status for one in opened) == [200] + [400] * 99
    assert {one.code for one in opened if one.status == 400} == {"replayed_request"}
    assert len(engine.calls) == 1


async def test_threat_41_one_request_id_at_all_workers_at_once_runs_once(
    workers: Workers, engine: UpstreamSimulator
) -> None:
    request_id = base64url(b"0123456789abcdef")
    many = [workers.seal(inner_request(request_id=request_id)) for _ in range(24)]
    answers = await asyncio.gather(*(post_alone(workers, sealed.message) for sealed in many))
    opened = [workers.open(sealed, answer) for sealed, answer in zip(many, answers, strict=True)]
    assert sorted(one.status for one in opened) == [200] + [400] * 23
    assert len(engine.calls) == 1


async def stream_from(workers: Workers, engine: UpstreamSimulator) -> tuple[httpx.AsyncClient, httpx.Response, int]:
    """Begin a stream; return it with the process id of the worker that serves it."""
    client = httpx.AsyncClient(base_url=workers.url, timeout=30)
    sealed = workers.seal(inner_request(chat_body(stream=True)))
    request = client.build_request("POST", "/mitai/ohttp", content=sealed.message, headers=HEADERS)
    response = await client.send(request, stream=True)
    calls = {client_port(response)}
    (pid,) = (pid for pid in workers.pool.pids if calls & remote_ports(pid))
    assert engine.calls
    return client, response, pid


def client_port(response: httpx.Response) -> int:
    stream = response.extensions["network_stream"]
    port: int = stream.get_extra_info("client_addr")[1]
    return port


def remote_ports(pid: int) -> set[int]:
    return {peer.raddr.port for peer in psutil.Process(pid).net_connections("inet") if peer.raddr}


async def test_a_worker_that_dies_cuts_its_own_streams_only_and_comes_back(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.6)
    async with running_workers(engine, 2, Limits(running=2)) as workers:
        first, dying, pid = await stream_from(workers, engine)
        while True:  # one that another worker serves
            second, living, other = await stream_from(workers, engine)
            if other != pid:
                break
            await second.aclose()
            await until(lambda: not workers.parts.replica._running.is_full)
        busy = workers.seal()
        assert workers.open(busy, await post_alone(workers, busy.message)).code == "overloaded"
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            await dying.aread()
        await until(lambda: engine.calls[0].aborted)
        assert (await living.aread())[-1:]
        # The dead worker's slot was given back, and its listener answers again.
        engine.behaviour = Behaviour()
        await until(lambda: len(workers.pool.pids) == 2 and pid not in workers.pool.pids)
        for _ in range(12):
            sealed = workers.seal()
            assert workers.open(sealed, await post_alone(workers, sealed.message)).status == 200
        await first.aclose()
        await second.aclose()


async def test_threat_02_what_a_dead_worker_admitted_stays_admitted(engine: UpstreamSimulator) -> None:
    async with running_workers(engine, 2) as workers:
        sealed = workers.seal()
        assert workers.open(sealed, await post_alone(workers, sealed.message)).status == 200
        for pid in workers.pool.pids:
            os.kill(pid, signal.SIGKILL)
        answer = await post_alone(workers, sealed.message)  # waits for the next worker
        assert workers.open(sealed, answer).code == "replayed_request"
    assert len(engine.calls) == 1


async def test_a_drain_finishes_every_stream(workers: Workers, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.1)
    many = [workers.seal(inner_request(chat_body(stream=True))) for _ in range(12)]
    running = [asyncio.create_task(post_alone(workers, sealed.message)) for sealed in many]
    await until(lambda: len(engine.calls) == 12)
    await workers.pool.stop()
    opened = [workers.open(sealed, await task) for sealed, task in zip(many, running, strict=True)]
    assert {one.receipt.finish for one in opened} == {"stop"}
    assert workers.pool.pids == []
    with pytest.raises(httpx.ConnectError):
        await post_alone(workers, many[0].message)


async def test_threat_20_the_limits_are_those_of_the_replica(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.5)
    limits = Limits(running=3, reading=2, request_seconds=5, attestations_burst=3, attestations_per_second=1)
    async with running_workers(engine, 4, limits) as workers:
        workers.parts.replica._bucket._clock = workers.parts.replica._bucket._seen.__float__  # time stands still
        many = [workers.seal(inner_request(chat_body(stream=True))) for _ in range(8)]
        statuses = []
        for sealed in many:
            task = asyncio.create_task(post_alone(workers, sealed.message))
            await asyncio.sleep(0.1)
            statuses.append((sealed, task))
        opened = [workers.open(sealed, await task) for sealed, task in statuses]
        assert sorted(one.status for one in opened) == [200] * 3 + [503] * 5
        path = f"{ATTESTATION_PATH}?nonce={base64url(bytes(32)).decode()}"
        evidence = [await get_alone(workers, path) for _ in range(6)]
        assert sorted(one.status_code for one in evidence) == [200] * 3 + [429] * 3
        await assert_reading_is_bounded(workers)


async def get_alone(workers: Workers, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=workers.url, timeout=30) as client:
        return await client.get(path)


async def assert_reading_is_bounded(workers: Workers) -> None:
    """Two bodies that do not end hold both slots, whichever workers they are at."""

    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(4)

    async def hold() -> int:
        async with httpx.AsyncClient(base_url=workers.url, timeout=30) as client:
            return (await client.post("/mitai/ohttp", content=endless(), headers=HEADERS)).status_code

    holding = [asyncio.create_task(hold()) for _ in range(2)]
    await asyncio.sleep(0.5)
    refused = [await post_alone(workers, workers.seal().message) for _ in range(6)]
    assert [one.status_code for one in refused] == [503] * 6
    assert [await task for task in holding] == [400, 400]
    sealed = workers.seal()
    assert workers.open(sealed, await post_alone(workers, sealed.message)).status == 200


async def test_evidence_and_health_come_from_the_keeper(workers: Workers) -> None:
    path = f"{ATTESTATION_PATH}?nonce={base64url(bytes(32)).decode()}"
    bundles = [parse_bundle((await get_alone(workers, path)).content) for _ in range(12)]
    assert {bundle.crypto_material for bundle in bundles} == {workers.epochs.current.material}
    assert (await get_alone(workers, "/healthz")).status_code == 200
    workers.watching.cancel()
    await workers.engine.stop()
    for _ in range(8):
        assert (await get_alone(workers, "/healthz")).status_code == 503
        assert (await get_alone(workers, path)).status_code == 503
        sealed = workers.seal()
        assert workers.open(sealed, await post_alone(workers, sealed.message)).code == "engine_unavailable"


async def test_counts_of_all_workers_come_together(workers: Workers) -> None:
    for _ in range(10):
        sealed = workers.seal()
        await post_alone(workers, sealed.message)
        await post_alone(workers, b"nothing that opens")
    workers.metrics.refresh()
    text = workers.metrics.text.decode()
    assert 'outcome="ok",route="chat"} 10' in text
    assert 'outcome="unopened",route="other"} 10' in text
    assert 'mitai_handover_seconds_bucket{le="+Inf"} 10' in text


async def test_threat_32_a_worker_has_its_secrets_from_the_channel_alone(workers: Workers) -> None:
    seeds = [key.seed for live in workers.epochs.opening for key in live.epoch.keys]
    secrets = [*seeds, workers.identity.receipt_key.private_bytes_raw(), workers.parts.salt_secret]
    for pid in workers.pool.pids:
        process = psutil.Process(pid)
        given = " ".join([*process.cmdline(), *process.environ().values()]).encode()
        for secret in (*secrets, TOKEN.encode()):
            assert secret.hex().encode() not in given
            assert base64url(secret) not in given
        assert set(process.environ()) == {"LANG", "PATH"}
        assert process.open_files() == []
        assert process.ppid() == os.getpid()
    for found in workers.pool._folder.rglob("*"):
        assert found.is_dir() or not any(secret in found.read_bytes() for secret in secrets)


async def test_threat_21_a_worker_runs_our_source_and_no_planted_bytecode(workers: Workers) -> None:
    for pid in workers.pool.pids:
        _, isolated, option, prefix, module, name, listener = psutil.Process(pid).cmdline()
        assert (isolated, option, module, name) == ("-I", "-X", "-m", "mitai_enclave.worker")
        folder = prefix.removeprefix("pycache_prefix=")
        assert folder.startswith(str(workers.pool._folder))
        assert listener.isdigit()


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


async def test_threat_16_a_worker_leaves_no_core_dump_and_no_open_file(workers: Workers) -> None:
    for pid in workers.pool.pids:
        assert "Umask:\t0077" in status_of(pid)
        assert psutil.Process(pid).rlimit(psutil.RLIMIT_CORE) in {(1, 1), (0, 0)}


async def test_a_worker_that_never_becomes_ready_gives_its_connections_to_the_others(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitai_enclave.workers._MODULE", "mitai_enclave.errors")  # ends at once
    os.kill(workers.pool.pids[0], signal.SIGKILL)
    await until(lambda: None in workers.pool._listeners)
    for _ in range(16):
        sealed = workers.seal()
        assert workers.open(sealed, await post_alone(workers, sealed.message)).status == 200
    monkeypatch.undo()
    await until(lambda: len(workers.pool.pids) == 4 and None not in workers.pool._listeners)


async def test_a_worker_whose_channel_ends_ends_at_once_whatever_it_is_doing(engine: UpstreamSimulator) -> None:
    """The end of the channel is the keeper's end, also while a stream is running and a drain would have time."""
    engine.behaviour = Behaviour(pause=0.5)
    async with running_workers(engine, 2) as workers:
        sessions = []
        make = workers.pool._new_session

        def remember(on_end: Callable[[], None]) -> WorkerSession:
            sessions.append(make(on_end))
            return sessions[-1]

        workers.pool._new_session = remember
        before = set(workers.pool.pids)
        os.kill(workers.pool.pids[0], signal.SIGKILL)  # the next one is made by us
        await until(lambda: sessions and sessions[0].ready.is_set())
        (pid,) = set(workers.pool.pids) - before
        while True:
            client, response, serving = await stream_from(workers, engine)
            if serving == pid:
                break
            await client.aclose()
        (process,) = (one for one in workers.pool._processes.values() if one.pid == pid)
        sessions[0].channel.close()
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
        assert await asyncio.wait_for(process.wait(), 10) == 1  # by itself: killed, it would be -9
        await client.aclose()
