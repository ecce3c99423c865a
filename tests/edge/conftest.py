"""A store in a fresh folder, for the tests of everything that stands on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.keyslots.keys import RootKey
from mitai.keyslots.private_file import create_empty
from mitai.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root() -> RootKey:
    return RootKey("0123456789abcdef0123456789abcdef", bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path, root: RootKey) -> Iterator[Store]:
    folder = tmp_path / "kb"
    folder.mkdir(mode=0o700)
    create_empty(folder / "kb.db")
    made = Store.create(folder / "kb.db", root)
    yield made
    made.close()
