"""Keys rotate under continuous traffic of the real client: no request fails, in one process and in several."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

import support.sidecar
from mitai_enclave.config import Limits
from support.evidence_builder import build_enclave
from support.sidecar import running_sidecar
from support.traffic import ROTATIONS, assert_each_change_is_visible, policy_for, run_through_rotations
from support.workers import BuiltAttester, running_workers

if TYPE_CHECKING:
    from support.evidence_builder import BuiltEnclave
    from support.upstream_simulator import UpstreamSimulator

LIMITS = Limits(rotation_seconds=2, attestations_per_second=1000, attestations_burst=1000)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> BuiltEnclave:
    machine = build_enclave(now=int(time.time()))
    monkeypatch.setattr(support.sidecar, "RecordedAttester", lambda: BuiltAttester(machine))
    return machine


@pytest.mark.parametrize("workers", [1, 4])
async def test_threat_30_keys_rotate_in_the_open_and_no_request_fails(
    engine: UpstreamSimulator, machine: BuiltEnclave, workers: int
) -> None:
    running = running_sidecar(engine, LIMITS) if workers == 1 else running_workers(engine, workers, LIMITS)
    async with running as sidecar:
        traffics = await run_through_rotations(sidecar, policy_for(machine, sidecar))
    assert_each_change_is_visible(traffics)
    assert sum(traffic.answers for traffic in traffics) == len(engine.calls)
    assert min(traffic.answers for traffic in traffics) > ROTATIONS
