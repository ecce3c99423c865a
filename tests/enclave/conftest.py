"""What the enclave's tests share: an engine to talk to and a sidecar in front of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.sidecar import Sidecar, running_sidecar
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name (108 bytes in all)."""
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:
        yield Path(folder)


@pytest.fixture
async def engine(short_path: Path) -> AsyncIterator[UpstreamSimulator]:
    async with UpstreamSimulator(short_path / "engine.sock") as simulator:
        yield simulator


@pytest.fixture
async def sidecar(engine: UpstreamSimulator) -> AsyncIterator[Sidecar]:
    async with running_sidecar(engine) as running:
        yield running
