"""Every row whose defence can be removed has a mutant, and every mutant still fits the tree."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PATCHES = sorted(FOLDER.glob("*.patch"))


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_run", FOLDER / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_row_has_a_mutant() -> None:
    page = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (\d\d) \|", page, re.MULTILINE))
    assert {path.name[:2] for path in PATCHES} == rows


@pytest.mark.parametrize("patch", PATCHES, ids=lambda path: path.stem)
def test_every_mutant_still_applies_to_product_code_only(patch: Path) -> None:
    text = patch.read_text(encoding="utf-8")
    changed = _runner().changed_files(patch)
    assert changed
    assert all(name.startswith(("cloud_enclave/", "edge/", "ingest/", "shared/crypto/")) for name in changed)
    assert not text.startswith("---"), "its head says what it removes"
    assert _runner().does_apply(patch, ROOT)
