"""What tests of interoperability share: the engine, the sidecar, and where foreign programs are found."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.node_packages import NodeUnavailable, arrange, install
from support.sidecar import Sidecar, running_sidecar
from support.tng_process import find_tng
from support.upstream_simulator import UpstreamSimulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def engine() -> AsyncIterator[UpstreamSimulator]:
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:  # short: a socket's path has 108 bytes
        async with UpstreamSimulator(Path(folder) / "engine.sock") as simulator:
            yield simulator


@pytest.fixture
async def sidecar(engine: UpstreamSimulator) -> AsyncIterator[Sidecar]:
    async with running_sidecar(engine) as running:
        yield running


@pytest.fixture
def tng() -> Path:
    found = find_tng()
    if found is None:
        pytest.skip("the TNG binary is not installed (tng-sdk, in the extra dev)")
    return found


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        packages = install()
    except NodeUnavailable as reason:
        pytest.skip(str(reason))
    return arrange(packages, tmp_path_factory.mktemp("node"))
