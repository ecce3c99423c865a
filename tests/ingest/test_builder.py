from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mitai_ingest.builder import assemble
from mitai_ingest.fragment import Fragment, Parsed

if TYPE_CHECKING:
    from mitai_ingest.document import Document


def build(*fragments: Fragment, title: str = "") -> Document:
    return assemble(Parsed(title, fragments), path=Path("a/手册.md"), media_type="text/markdown", sha256=bytes(32))


def heading(text: str, level: int) -> Fragment:
    return Fragment("heading", text, level=level)


def test_spans_are_exact_and_one_blank_line_stands_between() -> None:
    document = build(heading("标题", 1), Fragment("paragraph", "正文。", page=2))
    assert document.text == "标题\n\n正文。"
    assert [document.text[block.start : block.end] for block in document.blocks] == ["标题", "正文。"]
    assert [block.page for block in document.blocks] == [None, 2]


def test_a_heading_closes_those_of_its_level_and_below() -> None:
    document = build(
        Fragment("paragraph", "before"),
        heading("A", 1),
        heading("A.1", 2),
        heading("A.1.x", 4),
        Fragment("paragraph", "deep"),
        heading("A.2", 2),
        Fragment("paragraph", "x"),
        heading("B", 1),
    )
    assert [block.heading_path for block in document.blocks] == [
        (),
        ("A",),
        ("A", "A.1"),
        ("A", "A.1", "A.1.x"),
        ("A", "A.1", "A.1.x"),
        ("A", "A.2"),
        ("A", "A.2"),
        ("B",),
    ]


def test_the_title_comes_from_the_document_its_headings_or_its_name() -> None:
    body = Fragment("paragraph", "x")
    assert build(body, heading("H", 1), title="T").title == "T"
    assert build(heading("minor", 3), heading("major", 2), heading("later", 2), body).title == "major"
    assert build(body).title == "手册"


def test_a_long_heading_is_cut_in_the_path_only() -> None:
    document = build(heading("x" * 500, 1))
    assert len(document.blocks[0].heading_path[0]) == 120
    assert document.text == "x" * 500


def test_content_does_not_show_in_repr() -> None:
    assert "secret" not in repr(build(heading("secret", 1), title="secret"))
