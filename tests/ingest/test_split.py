from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_ingest.builder import assemble
from mitai_ingest.fragment import Fragment, Parsed, tidy
from mitai_ingest.split import split

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_ingest.document import Document


def build(*fragments: Fragment) -> Document:
    parsed = tidy(Parsed("", fragments))
    return assemble(parsed, path=Path("x.md"), media_type="text/markdown", sha256=bytes(32))


def count_words(text: str) -> int:
    """Two special tokens, a token for each CJK character, one for each started four characters of a word."""
    words = "".join(f" {c} " if unicodedata.category(c) == "Lo" else c for c in text).split()
    return 2 + sum(-(-len(word) // 4) for word in words)


def count_grudgingly(text: str) -> int:
    """Need more for a whole than for its parts: line feeds are dear, and a lone `a` costs more than `ab`."""
    return 2 + len(text) + 5 * text.count("\n") + 3 * text.endswith("a")


def heading(text: str, level: int = 1) -> Fragment:
    return Fragment("heading", text, level=level)


def paragraph(text: str, page: int | None = None) -> Fragment:
    return Fragment("paragraph", text, page=page)


_TEXT = st.text(alphabet=st.sampled_from("ab cd.,!? 中文。，；？“”\ne\u0301👩‍🔬\u3000"), max_size=120)
_FRAGMENTS = st.lists(
    st.one_of(
        st.builds(heading, _TEXT, st.integers(1, 3)),
        st.builds(paragraph, _TEXT, st.sampled_from([None, 1, 2])),
        st.builds(Fragment, st.sampled_from(["list", "table", "code"]), _TEXT),
    ),
    max_size=8,
)


@pytest.mark.parametrize("count", [count_words, count_grudgingly, lambda text: len(text.encode())])
@given(fragments=_FRAGMENTS, cap=st.integers(16, 60))
def test_passages_tile_the_document(count: Callable[[str], int], fragments: list[Fragment], cap: int) -> None:
    document = build(*fragments)
    passages = split(document, count, cap)
    assert [passage.ordinal for passage in passages] == list(range(len(passages)))
    end = 0
    for passage in passages:
        assert passage.text == document.text[passage.start : passage.end] == passage.text.strip() != ""
        assert not document.text[end : passage.start].strip()
        assert passage.tokens == count(passage.text) <= cap
        end = passage.end
    assert not document.text[end:].strip()


@given(fragments=_FRAGMENTS)
def test_a_passage_stays_under_one_heading_and_on_one_page(fragments: list[Fragment]) -> None:
    document = build(*fragments)
    for passage in split(document, count_words, 40):
        within = [b for b in document.blocks if b.start < passage.end and passage.start < b.end]
        assert {block.page for block in within} == {passage.page}
        bodies = [block for block in within if block.kind != "heading"] or within[-1:]
        assert {block.heading_path for block in bodies} == {passage.heading_path} or within[-1].kind == "heading"


def test_small_blocks_under_one_heading_are_one_passage() -> None:
    document = build(heading("Leave"), paragraph("A."), Fragment("list", "- b\n- c"), paragraph("D."))
    (passage,) = split(document, count_words)
    assert passage.text == document.text
    assert passage.heading_path == ("Leave",)


def test_headings_without_a_body_go_with_what_they_introduce() -> None:
    document = build(
        heading("手册"),
        heading("休假", 2),
        paragraph("十五天。"),
        heading("空", 2),
        heading("B"),
        paragraph("b"),
    )
    passages = split(document, count_words)
    assert [(p.heading_path, p.text) for p in passages] == [
        (("手册", "休假"), "手册\n\n休假\n\n十五天。"),
        (("手册", "空"), "空"),
        (("B",), "B\n\nb"),
    ]


def test_pages_are_not_mixed() -> None:
    passages = split(build(paragraph("one", 1), paragraph("two", 2)), count_words)
    assert [(p.page, p.text) for p in passages] == [(1, "one"), (2, "two")]


def test_sentences_stay_whole_where_they_fit() -> None:
    text = "".join(f"第{number}条规定员工应当遵守制度。" for number in "一二三四五六七八九")
    for passage in split(build(paragraph(text)), count_words, 40):
        assert passage.text.startswith("第")
        assert passage.text.endswith("。")


def test_table_rows_and_list_items_stay_whole() -> None:
    rows = [f"Part {number} | made of steel. Heavy. | {number} kg" for number in range(30)]
    passages = split(build(Fragment("table", "\n".join(rows))), count_words, 40)
    assert [row for passage in passages for row in passage.text.split("\n")] == rows


def test_the_last_passage_of_a_section_is_not_a_crumb() -> None:
    text = " ".join("Alpha beta gamma delta." for _ in range(10)) + " End."
    sizes = [passage.tokens for passage in split(build(paragraph(text)), count_words, 72)]
    assert len(sizes) == 2
    assert min(sizes) >= 72 // 4


def test_a_long_sentence_is_cut_at_clauses_then_spaces() -> None:
    clauses = "，".join("甲方应当按照约定的时间和地点交付设备" for _ in range(8)) + "。"
    for passage in split(build(paragraph(clauses)), count_words, 50)[:-1]:
        assert passage.text.endswith("，")
    words = " ".join(["wordwordword"] * 60)
    assert {word for p in split(build(paragraph(words)), count_words, 30) for word in p.text.split()} == {
        "wordwordword"
    }


def test_no_grapheme_is_broken() -> None:
    text = "e\u0323\u0304" * 40 + "👩‍🔬👍🏽" * 40
    for passage in split(build(paragraph(text)), len, 25):
        assert unicodedata.category(passage.text[0]) != "Mn"
        assert passage.text[0] not in "\u200d🏽"
        assert not passage.text.endswith("\u200d")


def test_the_cap_wins_over_a_grapheme_without_end() -> None:
    text = "a" + "\u0323" * 400
    assert all(passage.tokens <= 25 for passage in split(build(paragraph(text)), len, 25))


def test_a_book_in_one_sentence_is_cut_in_reasonable_time() -> None:
    counted = 0

    def count(text: str) -> int:
        nonlocal counted
        counted += len(text)
        return -(-len(text) // 4)

    text = "x" * 1_000_000
    assert sum(len(p.text) for p in split(build(paragraph(text)), count)) == len(text)
    assert counted < 30 * len(text)


def test_nothing_gives_nothing() -> None:
    assert split(build(), count_words) == []


def test_a_cap_that_holds_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        split(build(paragraph("a")), count_words, 15)
