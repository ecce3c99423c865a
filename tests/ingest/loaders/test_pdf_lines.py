from __future__ import annotations

from mitai_ingest.fragment import Fragment
from mitai_ingest.loaders.pdf_lines import Line, structure


def page(*rows: str, size: float = 10, top: float = 700, step: float = 12) -> list[Line]:
    """Set rows one below the other; an empty row leaves its place free."""
    return [Line(text, top - at * step, size) for at, text in enumerate(rows) if text]


def read(*pages: list[Line]) -> list[Fragment]:
    return list(structure(pages))


def test_a_gap_begins_a_paragraph() -> None:
    assert [f.text for f in read(page("One line", "goes on.", "", "Two lines", "go on."))] == [
        "One line goes on.",
        "Two lines go on.",
    ]


def test_heading_levels_follow_sizes() -> None:
    lines = [
        Line("Small", 700, 12),
        Line("BIG", 680, 20),
        *page("body " * 20, top=600),
        Line("Small too", 500, 12),
    ]
    assert [(f.level, f.text) for f in read(lines) if f.kind == "heading"] == [
        (2, "Small"),
        (1, "BIG"),
        (2, "Small too"),
    ]


def test_a_large_sentence_is_no_heading() -> None:
    kinds = [f.kind for f in read([Line("This is a pulled quote.", 700, 20), *page("body " * 20, top=600)])]
    assert kinds == ["paragraph", "paragraph"]


def test_running_headers_and_page_numbers_are_dropped() -> None:
    pages = [
        page(f"Manual 2026 – {number}", "", f"Text {word}.", "", str(number)) for number, word in enumerate("abc", 1)
    ]
    assert [f.text for f in read(*pages)] == ["Text a.", "Text b.", "Text c."]


def test_two_pages_that_begin_alike_keep_their_lines() -> None:
    assert len(read(page("Same", "", "a."), page("Same", "", "b."))) == 4


def test_hyphens_at_line_ends() -> None:
    assert read(page("infor\ufffemation on the TK-\ufffe40 and the DM\ufffe7"))[0].text == (
        "information on the TK--40 and the DM-7"
    )


def test_list_items() -> None:
    (found,) = read(page("• one", "2) two", "goes on", "– three"))
    assert (found.kind, found.text) == ("list", "- one\n2) two goes on\n- three")


def test_a_paragraph_runs_on_over_a_page_break() -> None:
    assert read(page("The lease begins", "on the first"), page("day of May.", "", "Next."))[0] == Fragment(
        "paragraph", "The lease begins on the first day of May.", page=1
    )
    assert read(page("租赁期限为十八"), page("个月。"))[0].text == "租赁期限为十八个月。"
    assert len(read(page("It ends here."), page("and this is new"))) == 2
    assert len(read(page("Table of"), page("Contents"))) == 2


def test_nothing_gives_nothing() -> None:
    assert read() == []
    assert read([], []) == []
