from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from mitai_ingest import Candidate, Failed, Limits, Loaded, read
from mitai_ingest.errors import DocumentTooLarge, EncryptedDocument, OutsideRoots, UnreadableFile, UnsupportedFormat
from support.document_files import HANS, pdf

if TYPE_CHECKING:
    from pathlib import Path


def count(text: str) -> int:
    return len(text)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path.resolve() / "docs"
    root.mkdir()
    (root / "1.txt").write_text(HANS, encoding="gb18030")
    (root / "2.bin").write_bytes(b"\x00")
    (root / "3.pdf").write_bytes(pdf([[("x", 11)]], password="secret"))
    (root / "4.md").write_text("# Fine\n\nStill read.", encoding="utf-8")
    (root / "5.txt").symlink_to("/etc/passwd")
    (root / "6.txt").write_text("x" * 2000, encoding="utf-8")
    (root / "7.html").write_text("<p>last", encoding="utf-8")
    return root


def test_a_bad_file_never_stops_the_rest(folder: Path) -> None:
    outcomes = list(read([folder / "missing", folder], count, limits=Limits(file_bytes=1500)))
    assert [
        (o.path.name, type(o.error)) if isinstance(o, Failed) else (o.candidate.path.name, o.document.text)
        for o in outcomes
    ] == [
        ("missing", UnreadableFile),
        ("1.txt", HANS),
        ("2.bin", UnsupportedFormat),
        ("3.pdf", EncryptedDocument),
        ("4.md", "Fine\n\nStill read."),
        ("5.txt", OutsideRoots),
        ("6.txt", DocumentTooLarge),
        ("7.html", "last"),
    ]


def test_a_skipped_file_is_not_opened(folder: Path) -> None:
    seen: list[Candidate] = []

    def skip(candidate: Candidate) -> bool:
        seen.append(candidate)
        return candidate.path.suffix != ".md"

    names = [o.candidate.path.name for o in read([folder], count, skip=skip) if isinstance(o, Loaded)]
    assert names == ["4.md"]
    assert [candidate.path.name for candidate in seen] == ["1.txt", "2.bin", "3.pdf", "4.md", "6.txt", "7.html"]


def test_outcomes_come_one_by_one_and_carry_the_passages(folder: Path) -> None:
    outcomes = read([folder], count, max_tokens=40)
    first = next(outcomes)
    assert isinstance(first, Loaded)
    assert first.isolated is (sys.platform == "linux")
    assert len(first.passages) > 1
    assert all(passage.tokens <= 40 for passage in first.passages)
    del outcomes  # ends the parser process; a leak would be a ResourceWarning, and that an error


def test_a_bug_of_the_caller_is_not_taken_for_a_bad_file(folder: Path) -> None:
    def broken(_text: str) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read([folder], broken))


def test_content_does_not_show_in_repr(folder: Path) -> None:
    (outcome,) = read([folder / "4.md"], count)
    assert "Still" not in repr(outcome)
