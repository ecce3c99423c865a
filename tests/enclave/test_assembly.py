from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mitai_enclave.address import UnixAddress
from mitai_enclave.assembly import build_parts
from mitai_enclave.config import Limits
from mitai_enclave.engine import ExternalEngine
from mitai_enclave.welcome import share_of_reading
from support.sidecar import RecordedAttester, settings_for
from support.upstream_simulator import UpstreamSimulator


@pytest.mark.parametrize(("workers", "reading"), [(1, 64), (2, 16), (2, 1), (3, 64), (64, 64), (64, 1000)])
def test_threat_20_shares_and_reserve_are_the_limit_and_no_more(workers: int, reading: int) -> None:
    limits = Limits(reading=reading)
    settings = replace(settings_for(UpstreamSimulator(Path("/none")), limits), workers=workers)
    parts = build_parts(settings, RecordedAttester(), ExternalEngine(UnixAddress(Path("/none"))), None)
    reserve = 0
    while parts.replica.take_reading() is not None:
        reserve += 1
    shares = 0 if workers == 1 else workers * share_of_reading(limits, workers)
    assert reserve + shares == reading


def test_threat_38_no_secret_shows_in_a_repr() -> None:
    settings = settings_for(UpstreamSimulator(Path("/none")))
    parts = build_parts(settings, RecordedAttester(), ExternalEngine(UnixAddress(Path("/none"))), None)
    assert repr(parts.salt_secret) not in repr(parts)
    assert len(parts.salt_secret) == 32
