"""Fixtures of the transport's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.enclave_simulator import EnclaveSimulator

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        yield running
