"""The channel between keeper and worker, over a real socket pair: what each side takes, and what ends it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.kem import Kem
from mitai_enclave import messages
from mitai_enclave.attestation import EvidenceSource, TokenBucket
from mitai_enclave.channel import Channel, open_channel
from mitai_enclave.codec import encode
from mitai_enclave.epochs import KeyEpochs
from mitai_enclave.errors import KeyExpired, RequestRefused
from mitai_enclave.keeper import WorkerSession
from mitai_enclave.keeper_client import KeeperClient
from mitai_enclave.metrics import Metrics
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.replica import Candidate, LocalReplica
from support.sidecar import RecordedAttester
from support.workers import WELCOME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mitai_crypto.crypto_material import PublishedKey
    from mitai_enclave.messages import ToKeeper, ToWorker


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class AlwaysHealthy:
    healthy = True


def describe(keys: tuple[PublishedKey, ...]) -> bytes:
    return b"|".join(key.config for key in keys)


class Pair:
    """A keeper's session and a worker's client, and what became of them."""

    def __init__(self, *, running: int = 2, reading: int = 1) -> None:
        self.clock = Clock()
        self.engine = AlwaysHealthy()
        self.epochs = KeyEpochs(kems=(Kem.X25519,), rotation=60, capacity=100, describe=describe, monotonic=self.clock)
        self.replica = LocalReplica(
            epochs=self.epochs,
            engine=self.engine,  # type: ignore[arg-type] # only its health is asked for
            evidence=EvidenceSource(RecordedAttester(), self.epochs),
            bucket=TokenBucket(1, 2),
            reading=reading,
            running=running,
        )
        self.metrics = Metrics()
        self.keeper_ended = asyncio.Event()
        self.worker_ended = asyncio.Event()
        self.session = WorkerSession(self.replica, self.metrics, WELCOME, self.keeper_ended.set)

    def candidate(self, name: bytes, request_id: bytes = b"") -> Candidate:
        return Candidate(self.epochs.current.material_digest, name, "alice", request_id or name * 16)


@asynccontextmanager
async def connected(**widths: int) -> AsyncIterator[tuple[Pair, KeeperClient]]:
    pair = Pair(**widths)
    ours, theirs = socket.socketpair()
    client = KeeperClient(pair.worker_ended.set, monotonic=pair.clock)
    await open_channel(ours, pair.session.channel)
    await open_channel(theirs, client.channel)
    pair.session.greet()
    await client.welcome
    client._share = client._share.__class__(0)
    try:
        yield pair, client
    finally:
        client.channel.close()
        pair.session.channel.close()
        await pair.keeper_ended.wait()
        await pair.worker_ended.wait()


async def test_the_keys_come_when_they_are_due_and_go_with_the_clock() -> None:
    async with connected() as (pair, client):
        await client.prepare()
        first = pair.epochs.current.epoch.keys[0]
        assert client.current() == pair.replica.current() == (first.config,)
        found = client.find(first.config.key_id)
        assert found is not None
        assert found.config == first.config
        assert found.epoch == pair.epochs.current.material_digest
        pair.clock.now += 60
        # Whoever sees the next key in evidence has passed this instant, and so has the worker's clock.
        following = pair.epochs.current.epoch.keys[0]
        assert client.find(following.config.key_id) is None
        await client.prepare()
        assert client.find(following.config.key_id) is not None
        assert client.find(first.config.key_id) is not None
        assert client.current() == (following.config,)
        pair.clock.now += 60
        assert client.find(first.config.key_id) is None


async def test_threat_02_two_workers_have_one_replay_set() -> None:
    async with connected() as (pair, client):
        other_ended = asyncio.Event()
        ours, theirs = socket.socketpair()
        session = WorkerSession(pair.replica, pair.metrics, WELCOME, asyncio.Event().set)
        other = KeeperClient(other_ended.set, monotonic=pair.clock)
        await open_channel(ours, session.channel)
        await open_channel(theirs, other.channel)
        with await client.admit(pair.candidate(b"1")):
            with pytest.raises(RequestRefused) as caught:
                await other.admit(pair.candidate(b"1", b"another-id-16byt"))
            assert caught.value.code == "replayed_request"
            with pytest.raises(RequestRefused) as caught:
                await other.admit(Candidate(pair.candidate(b"1").epoch, b"2", "alice", b"1" * 16))
            assert caught.value.code == "repeated_request"
        other.channel.close()
        await other_ended.wait()


async def test_a_key_that_is_gone_admits_nothing() -> None:
    async with connected() as (pair, client):
        candidate = pair.candidate(b"1")
        pair.clock.now += 120
        with pytest.raises(KeyExpired):
            await client.admit(candidate)


async def test_slots_are_counted_at_the_keeper_and_given_back_by_a_dead_worker() -> None:
    async with connected(running=1, reading=1) as (pair, client):
        with await client.admit(pair.candidate(b"1")):
            with pytest.raises(RequestRefused) as caught:
                await client.admit(pair.candidate(b"2"))
            assert caught.value.code == "overloaded"
        await client.admit(pair.candidate(b"2"))
        await client.begin_reading()
        with pytest.raises(PublicRefusal):
            await client.begin_reading()
        assert pair.replica._running.is_full
        assert pair.replica._reading.is_full
        client.channel.close()
        await pair.keeper_ended.wait()
        assert not pair.replica._running.is_full
        assert not pair.replica._reading.is_full


async def test_what_was_granted_to_somebody_who_is_gone_is_given_back() -> None:
    async with connected(running=1, reading=1) as (pair, client):
        asked = [
            asyncio.ensure_future(client.admit(pair.candidate(b"1"))),
            asyncio.ensure_future(client.begin_reading()),
        ]
        await asyncio.sleep(0)  # the questions leave
        for task in asked:
            task.cancel()
        assert await client.is_healthy()
        assert await client.is_healthy()
        assert not pair.replica._running.is_full
        assert not pair.replica._reading.is_full


async def test_a_share_needs_no_question() -> None:
    async with connected(reading=0) as (_, client):
        client._share = client._share.__class__(1)
        with await client.begin_reading(), pytest.raises(PublicRefusal):
            await client.begin_reading()
        with await client.begin_reading():
            pass


async def test_evidence_has_one_rate_and_needs_health() -> None:
    async with connected() as (pair, client):
        await client.attest(bytes(32))
        pair.engine.healthy = False
        with pytest.raises(PublicRefusal) as none:
            await client.attest(bytes(32))
        with pytest.raises(PublicRefusal) as many:
            await client.attest(bytes(32))
        assert (none.value.problem.status, many.value.problem.status) == (503, 429)


def frame(text: bytes) -> bytes:
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    "data",
    [
        frame(b"{}"),
        frame(b'{"n":1,"op":"health","v":2}'),
        frame(encode("welcome", WELCOME)),
        frame(encode("release", messages.Release(messages.SlotKind.RUNNING))),
        frame(encode("release", messages.Release(messages.SlotKind.READING))),
    ],
)
async def test_a_worker_that_breaks_a_rule_is_heard_no_more(data: bytes) -> None:
    pair = Pair()
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    await open_channel(ours, pair.session.channel)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(theirs, data + frame(encode("ready", messages.Ready())))
    await asyncio.wait_for(pair.keeper_ended.wait(), 10)
    assert not pair.session.ready.is_set()
    with theirs:
        assert await loop.sock_recv(theirs, 100) == b""


@pytest.mark.parametrize("length", [messages.MAX_TO_KEEPER + 1, 2**32 - 1])
async def test_threat_20_a_frame_over_its_bound_ends_the_channel_before_its_bytes_arrive(length: int) -> None:
    pair = Pair()
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    await open_channel(ours, pair.session.channel)
    await asyncio.get_running_loop().sock_sendall(theirs, length.to_bytes(4, "big"))
    with theirs:
        await asyncio.wait_for(pair.keeper_ended.wait(), 3)


def healthy(n: int) -> Callable[[Channel[ToKeeper, ToWorker]], None]:
    return lambda channel: channel.send(messages.Healthy(n, healthy=True))


@pytest.mark.parametrize(
    "misbehave",
    [
        healthy(99),
        lambda channel: channel.send(WELCOME),
        lambda channel: channel.send(messages.Granted(1, granted=True)),
    ],
    ids=["not asked", "welcome again", "another kind"],
)
async def test_a_worker_takes_no_answer_that_it_did_not_ask_for(
    misbehave: Callable[[Channel[ToKeeper, ToWorker]], None],
) -> None:
    async with connected() as (pair, client):
        pair.engine.__class__ = AlwaysHealthy
        question = asyncio.ensure_future(client.attest(bytes(32)))
        misbehave(pair.session.channel)
        await asyncio.wait_for(pair.worker_ended.wait(), 10)
        question.cancel()
        await asyncio.gather(question, return_exceptions=True)


async def test_bytes_may_come_in_any_pieces() -> None:
    pair = Pair()
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    await open_channel(ours, pair.session.channel)
    for byte in frame(encode("ready", messages.Ready())):
        await asyncio.get_running_loop().sock_sendall(theirs, bytes([byte]))
        await asyncio.sleep(0)
    await asyncio.wait_for(pair.session.ready.wait(), 10)
    theirs.close()
    await pair.keeper_ended.wait()
