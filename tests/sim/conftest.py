"""Fixtures for the simulated TEE."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from support.measured_python import MeasuredPython, make_measured_python

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuredPython]:
    folder = tmp_path_factory.mktemp("measured")
    yield make_measured_python(folder)
    shutil.rmtree(folder)
