from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_ingest.sentences import lines, sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text, 0, len(text))]


@pytest.mark.parametrize(
    "expected",
    [
        ["One.", "Two!", "Three?", "Four"],
        ["He asked: “Why?”", "Nobody knew."],
        ["Dr. Hill met Mr. Quay at 9 a.m. on Monday.", "It was cold."],
        ["See fig. 3 and sec. 2.1 of the manual.", "The price is 3.5 euros."],
        ["Use e.g. acetone, i.e. a solvent.", "Not water."],
        ["J. S. Bach was here.", "He left."],
        ["1. Switch it on.", "2. Wait."],
        ["It costs 12.", "That is cheap."],
        ["Really?!", "Yes..."],
        ["Visit example.com for more.", "It is short."],
    ],
)
def test_latin(expected: list[str]) -> None:
    assert cut(" ".join(expected)) == expected


def test_an_ellipsis_within_a_sentence_does_not_end_it() -> None:
    assert cut("Well... it depends. Yes.") == ["Well... it depends.", "Yes."]


@pytest.mark.parametrize(
    "expected",
    [
        ["年假为十五天。", "病假另计！", "真的？", "是"],
        ["他说：“可以。”", "然后离开了。"],
        ["（详见附件。）", "第二条；", "第三条。"],
        ["「可以嗎？」", "他問。"],
        ["等等……", "好吧。"],
        ["真的？！", "是的。"],
        ["好吗?", "可以!", "走吧."],
        ["版本3.5已发布。", "请升级。"],
    ],
)
def test_chinese(expected: list[str]) -> None:
    assert cut("".join(expected)) == expected


def test_both_in_one_text() -> None:
    assert cut("TK-40 needs 24 V. 电压为24伏。Do not open it. 请勿打开。") == [
        "TK-40 needs 24 V.",
        "电压为24伏。",
        "Do not open it.",
        "请勿打开。",
    ]


def test_a_line_feed_ends_a_sentence() -> None:
    assert cut("Harbour & Hill\n1 Quay") == ["Harbour & Hill", "1 Quay"]


def test_lines_skip_what_is_blank() -> None:
    text = "  a\n\n b \nc"
    assert [text[start:end] for start, end in lines(text, 0, len(text))] == ["a", "b", "c"]


@given(st.text(alphabet="aB1 .!?。！？；…”』)\n中"), st.integers(0, 5))
def test_spans_ascend_and_leave_out_only_white_space(text: str, start: int) -> None:
    for rule in (sentences, lines):
        spans = list(rule(text, min(start, len(text)), len(text)))
        assert all(text[begin:end].strip() == text[begin:end] != "" for begin, end in spans)
        assert spans == sorted(spans)
        assert "".join("".join(text[b:e].split()) for b, e in spans) == "".join(text[start:].split())
