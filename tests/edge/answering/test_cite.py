from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.answering.cite import Citation, Support, cite


@dataclass(frozen=True)
class Document:
    name: str


@dataclass(frozen=True)
class Passage:
    passage_id: int
    document: Document
    text: str
    heading_path: tuple[str, ...] = ()
    page: int | None = None
    start: int = 0


HANDBOOK = Passage(
    1,
    Document("handbook.md"),
    "Every full-time employee is entitled to 25 days of paid annual leave per calendar year. Unused leave of up "
    "to 5 days may be carried over until 31 March. Leave must not be taken during the probation period.",
    ("Leave", "Annual leave"),
    start=100,
)
MANUAL = Passage(
    2,
    Document("手册.md"),
    "员工每年享有二十五天带薪年假。未使用的年假最多可以结转五天，至次年三月三十一日止。试用期内不得休年假。",
    ("假期",),
    start=40,
)
CONTRACT = Passage(
    3,
    Document("contract.pdf"),
    "The supplier shall deliver the goods to Acme Ltd. within 30 days after receipt of order PO-4711. A penalty "
    "of 0.5% per day applies to late delivery, no more than 10% in total.",
    ("Delivery",),
    page=3,
)
TRADITIONAL = Passage(4, Document("契約.txt"), "承租人應於每月五日前支付租金新臺幣兩萬元。", start=7)
PASSAGES = [HANDBOOK, MANUAL, CONTRACT, TRADITIONAL]


def supports(answer: str) -> list[Support]:
    return [sentence.support for sentence in cite(answer, PASSAGES)]


def citation(answer: str) -> Citation:
    (sentence,) = cite(answer, PASSAGES)
    assert sentence.support is Support.SUPPORTED
    assert sentence.citation is not None
    return sentence.citation


@pytest.mark.parametrize(
    ("answer", "source", "quote"),
    [
        (
            "Full-time employees are entitled to 25 days of paid annual leave.",
            HANDBOOK,
            "Every full-time employee is entitled to 25 days of paid annual leave per calendar year.",
        ),
        (
            "Up to five days of unused leave may be carried over until 31 March.",
            HANDBOOK,
            "Unused leave of up to 5 days may be carried over until 31 March.",
        ),
        ("员工每年有25天带薪年假。", MANUAL, "员工每年享有二十五天带薪年假。"),
        ("員工每年有二十五天帶薪年假。", MANUAL, "员工每年享有二十五天带薪年假。"),
        ("承租人应于每月五日前支付租金新台币两万元。", TRADITIONAL, "承租人應於每月五日前支付租金新臺幣兩萬元。"),
        (
            "A penalty of 0.5 percent per day applies to late delivery.",
            CONTRACT,
            "A penalty of 0.5% per day applies to late delivery, no more than 10% in total.",
        ),
    ],
)
def test_a_supported_sentence_has_its_exact_place(answer: str, source: Passage, quote: str) -> None:
    found = citation(answer)
    assert (found.passage_id, found.file, found.page, found.heading_path) == (
        source.passage_id,
        source.document.name,
        source.page,
        source.heading_path,
    )
    assert found.quote == quote
    assert source.text[found.start - source.start : found.end - source.start] == quote


@pytest.mark.parametrize(
    "answer",
    [
        "Full-time employees are entitled to 20 days of paid annual leave per calendar year.",
        "Every full-time employee is entitled to 25% of paid annual leave per calendar year.",
        "员工每年享有二十天带薪年假。",
        "员工每年享有二十五个小时带薪年假。",
        "Every full-time employee is entitled to 25 months of paid annual leave per calendar year.",
        "A penalty of 5% per day applies to late delivery.",
        "承租人應於每月十五日前支付租金新臺幣兩萬元。",
    ],
)
def test_another_number_is_not_supported(answer: str) -> None:
    assert supports(answer) == [Support.UNSUPPORTED]


@pytest.mark.parametrize(
    "answer",
    ["Of paid annual leave every full-time employee is entitled to 25.", "带薪年假每年享有25，员工都有。"],
)
def test_a_number_without_its_unit_is_supported(answer: str) -> None:
    assert supports(answer) == [Support.SUPPORTED]


@pytest.mark.parametrize(
    "answer",
    [
        "The supplier shall deliver the goods to Globex within 30 days after receipt of order PO-4711.",
        "The supplier shall deliver the goods to Acme Ltd. within 30 days after receipt of order PO-4712.",
        "The supplier shall deliver the goods to Acme Ltd. within 30 days after receipt of order PO-471.",
        "员工每年享有二十五天带薪年假，由 Globex 支付。",
    ],
)
def test_another_name_is_not_supported(answer: str) -> None:
    assert supports(answer) == [Support.UNSUPPORTED]


@pytest.mark.parametrize(
    "answer",
    [
        "Leave may be taken during the probation period.",
        "试用期内可以休年假。",
        "Unused leave of up to 5 days may not be carried over until 31 March.",
    ],
)
def test_the_opposite_is_not_supported(answer: str) -> None:
    assert supports(answer) == [Support.UNSUPPORTED]


def test_what_stands_nowhere_is_not_supported() -> None:
    assert supports("Parking is free for all visitors.") == [Support.UNSUPPORTED]
    assert supports("停车场对访客免费开放。") == [Support.UNSUPPORTED]


@pytest.mark.parametrize("answer", ["Do you need anything else?", "Yes.", "好的。", "还需要其他帮助吗？"])
def test_what_states_nothing_is_neutral(answer: str) -> None:
    assert supports(answer) == [Support.NEUTRAL]


def test_sentences_are_judged_one_by_one_and_cover_the_answer() -> None:
    answer = (
        "According to the handbook:\n\n1. Every full-time employee is entitled to 25 days of paid annual leave.\n"
        "2. The sky is blue and very large.\n- 试用期内不得休年假。"
    )
    checked = cite(answer, PASSAGES)
    assert [sentence.support for sentence in checked][-3:] == [
        Support.SUPPORTED,
        Support.UNSUPPORTED,
        Support.SUPPORTED,
    ]
    for sentence in checked:
        assert answer[sentence.start : sentence.end] == sentence.text
    assert checked[-1].text == "试用期内不得休年假。"


def test_the_better_ranked_of_equal_places_is_cited() -> None:
    twin = Passage(9, Document("copy.md"), HANDBOOK.text)
    (sentence,) = cite("Leave must not be taken during the probation period.", [twin, HANDBOOK])
    assert sentence.citation is not None
    assert sentence.citation.passage_id == 9


def test_no_passages_and_no_text() -> None:
    assert cite("", PASSAGES) == ()
    assert cite("  \n ", PASSAGES) == ()
    assert [s.support for s in cite("Leave is 25 days.", [])] == [Support.UNSUPPORTED]


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_text_can_be_checked(answer: str, source: str) -> None:
    for sentence in cite(answer, [Passage(1, Document("x"), source, start=3)]):
        assert answer[sentence.start : sentence.end] == sentence.text
        if sentence.citation is not None:
            found = sentence.citation
            assert source[found.start - 3 : found.end - 3] == found.quote
