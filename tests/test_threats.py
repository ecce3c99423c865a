"""The catalogue in docs/threats.md and the tests named after its rows are the same set."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_row_has_a_test_and_every_such_test_has_a_row() -> None:
    page = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| (\d\d) \|", page, re.MULTILINE))
    tests = {
        number
        for path in (ROOT / "tests").rglob("test_*.py")
        for number in re.findall(r"def test_threat_(\d\d)_", path.read_text(encoding="utf-8"))
    }
    assert rows == tests
