from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from mitai.errors import EnclaveUnreachable, VerificationFailed
from mitai.transport._httpx2 import AsyncWire, SyncWire
from mitai.transport.session import Session, Verified, checked_url
from mitai.transport.wire import ThreadGate, run_now
from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import ATTESTATION_PATH, MAX_BUNDLE_BYTES
from support.enclave_simulator import Raw
from support.evidence_builder import build_enclave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.enclave_simulator import EnclaveSimulator, Outer


class Clock:
    """A wall clock and a monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.wall = time.time()
        self.steady = 1000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def transport() -> Iterator[httpx2.HTTPTransport]:
    with httpx2.HTTPTransport() as opened:
        yield opened


@pytest.fixture
def verified(simulator: EnclaveSimulator, clock: Clock, transport: httpx2.HTTPTransport) -> Callable[..., Verified]:
    policy = simulator.policy(max_age_seconds=600)
    session = Session(
        simulator.url,
        policy,
        gate=ThreadGate(),
        clock=lambda: clock.wall,
        monotonic=lambda: clock.steady,
    )
    wire = SyncWire(simulator.url, transport)
    return lambda replaced=None: run_now(session.verified(wire, timeouts={}, replace=replaced))


def fetches(simulator: EnclaveSimulator) -> int:
    return simulator.count(ATTESTATION_PATH)


def test_evidence_is_fetched_once_and_kept(simulator: EnclaveSimulator, verified: Callable[..., Verified]) -> None:
    first = verified()
    assert verified() is first
    assert fetches(simulator) == 1
    assert first.config == simulator.enclave.configs[0]


def test_threat_03_every_fetch_has_a_nonce_of_its_own(
    simulator: EnclaveSimulator, verified: Callable[..., Verified], clock: Clock
) -> None:
    verified()
    clock.pass_by(601)
    verified()
    assert len({outer.path for outer in simulator.seen}) == 2


def test_threat_03_stale_evidence_is_refused(simulator: EnclaveSimulator, verified: Callable[..., Verified]) -> None:
    old = simulator.enclave.bundle(bytes(32))
    simulator.misbehaviour.evidence = lambda _: old
    with pytest.raises(VerificationFailed, match="step 8"):
        verified()


def test_evidence_is_not_used_beyond_its_time(
    simulator: EnclaveSimulator, verified: Callable[..., Verified], clock: Clock
) -> None:
    first = verified()
    clock.pass_by(599)
    assert verified() is first
    clock.pass_by(2)
    assert verified() is not first
    assert fetches(simulator) == 2


def test_setting_the_wall_clock_back_revives_no_key(
    simulator: EnclaveSimulator, verified: Callable[..., Verified], clock: Clock
) -> None:
    verified()
    clock.steady += 601
    verified()
    assert fetches(simulator) == 2


def test_setting_the_wall_clock_forward_ends_a_key(
    simulator: EnclaveSimulator, verified: Callable[..., Verified], clock: Clock
) -> None:
    verified()
    clock.wall += 601
    verified()
    assert fetches(simulator) == 2


def test_what_was_of_no_use_is_replaced_once(simulator: EnclaveSimulator, verified: Callable[..., Verified]) -> None:
    first = verified()
    second = verified(first)
    assert second is not first
    assert verified(first) is second  # another request has replaced it already
    assert fetches(simulator) == 2


def test_a_failed_verification_is_not_kept(simulator: EnclaveSimulator, verified: Callable[..., Verified]) -> None:
    swapped = build_enclave("B", now=int(time.time()))
    simulator.misbehaviour.evidence = swapped.bundle
    for _ in range(2):
        with pytest.raises(VerificationFailed):
            verified()
    simulator.misbehaviour.evidence = None
    assert verified().config == simulator.enclave.configs[0]
    assert fetches(simulator) == 3


def test_a_failed_refresh_leaves_no_old_evidence(
    simulator: EnclaveSimulator, verified: Callable[..., Verified]
) -> None:
    first = verified()
    simulator.misbehaviour.evidence = lambda _: b"{}"
    with pytest.raises(VerificationFailed):
        verified(first)
    with pytest.raises(VerificationFailed):
        verified()


def test_threat_26_simulation_is_refused_where_hardware_is_wanted(
    simulator: EnclaveSimulator, transport: httpx2.HTTPTransport
) -> None:
    policy = replace(simulator.policy(), tee=(TeeKind.TDX, TeeKind.SEV_SNP), root=None)
    session = Session(simulator.url, policy, gate=ThreadGate())
    with pytest.raises(VerificationFailed, match="step 2"):
        run_now(session.verified(SyncWire(simulator.url, transport), timeouts={}))


@pytest.mark.parametrize(
    "raw",
    [
        Raw(503),
        Raw(404, b"<html>"),
        Raw(302, headers=(("location", "/elsewhere"),)),
        Raw(200, b"{}", (("content-encoding", "gzip"),)),
        Raw(200, b" " * (MAX_BUNDLE_BYTES + 1)),
    ],
    ids=["busy", "not found", "redirect", "coded", "too large"],
)
def test_anything_but_plain_evidence_is_unreachable(
    simulator: EnclaveSimulator, verified: Callable[..., Verified], raw: Raw
) -> None:
    simulator.misbehaviour.outer = lambda _: raw
    with pytest.raises(EnclaveUnreachable):
        verified()
    assert fetches(simulator) == 1


def test_threads_that_need_evidence_share_one_fetch(
    simulator: EnclaveSimulator, verified: Callable[..., Verified]
) -> None:
    waiting = threading.Barrier(8)
    bundle = simulator.enclave.bundle

    def slow(nonce: bytes) -> bytes:
        time.sleep(0.05)
        return bundle(nonce)

    def fetch() -> Verified:
        waiting.wait()
        return verified()

    simulator.misbehaviour.evidence = slow
    with ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(fetch) for _ in range(8)]]
    assert all(result is results[0] for result in results)
    assert fetches(simulator) == 1


async def test_tasks_that_need_evidence_share_one_fetch(simulator: EnclaveSimulator) -> None:
    session = Session(simulator.url, simulator.policy(), gate=anyio.Lock())
    results: list[Verified] = []
    async with httpx2.AsyncHTTPTransport() as transport:
        wire = AsyncWire(simulator.url, transport)

        async def fetch() -> None:
            results.append(await session.verified(wire, timeouts={}))

        async with anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(fetch)
    assert all(result is results[0] for result in results)
    assert fetches(simulator) == 1


async def test_a_cancelled_fetch_does_not_block_the_others(simulator: EnclaveSimulator) -> None:
    session = Session(simulator.url, simulator.policy(), gate=anyio.Lock())
    hang = threading.Event()

    def once(outer: Outer) -> Raw | None:
        hang.wait(5)
        return None

    simulator.misbehaviour.outer = once
    async with httpx2.AsyncHTTPTransport() as transport:
        wire = AsyncWire(simulator.url, transport)
        with anyio.move_on_after(0.05):
            await session.verified(wire, timeouts={})
        hang.set()
        assert (await session.verified(wire, timeouts={})).config == simulator.enclave.configs[0]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "enclave.example",
        "ftp://enclave.example",
        "https://",
        "https://user:secret@enclave.example",
        "https://enclave.example/?q=1",
        "https://enclave.example/#part",
        "https://enclave.example:99999",
        "https://enclave.example/a b",
        "https://密态.example",
        "https://a..example",
        f"https://{'a' * 64}.example",
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(EnclaveUnreachable) as caught:
        checked_url(url)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


def test_a_path_in_the_address_is_a_prefix() -> None:
    assert checked_url("https://enclave.example:8443/mitai/") == "https://enclave.example:8443/mitai"
