from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.formats import MAX_QUERY_TERMS
from mitai.text.tokens import fold, fold_han, fts_document, fts_query, index_text, terms, tokeniser_id

NASTY = [
    '" OR NEAR(',
    "a* AND b",
    "terms:secret",
    "^x",
    "- + { } ( )",
    "NOT",
    '""',
    "'; DROP TABLE passages; --",
    "\0",
    "\ud800",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("机器学习", ["机", "机器", "器", "器学", "学", "学习", "习"]),
        ("機器學習", ["机", "机器", "器", "器学", "学", "学习", "习"]),
        ("年", ["年"]),
        ("The Lease ends", ["the", "lease", "ends"]),
        ("ＡＢＣ １２３", ["abc", "123"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("ﬁle №5", ["file", "no5"]),
        ("使用Python3编程", ["使", "使用", "用", "python3", "编", "编程", "程"]),
        ("甲、乙", ["甲", "乙"]),
        ("カタカナ", ["カ", "カタ", "タ", "タカ", "カ", "カナ", "ナ"]),
        ("snake_case e-mail", ["snake", "case", "e", "mail"]),
        ("x" * 100, ["x" * 64]),
        ("… —", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert list(terms(text)) == expected


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [("軟體開發合約", "软体开发合约"), ("乾隆皇帝", "干隆皇帝"), ("頭髮與發現", "头发与发现"), ("臺灣", "台湾")],
)
def test_traditional_and_simplified_text_have_the_same_terms(traditional: str, simplified: str) -> None:
    assert fold_han(traditional) == simplified
    assert list(terms(traditional)) == list(terms(simplified))


@given(st.text())
def test_a_character_folds_the_same_in_every_context(text: str) -> None:
    assert fold_han(text) == "".join(fold_han(character) for character in text)
    assert len(fold_han(text)) == len(text)


@given(st.text())
def test_folding_meets_case_and_width(text: str) -> None:
    assert fold(text) == fold(fold_han(text)) or fold_han(fold(text)) == fold_han(fold(fold_han(text)))


@given(st.text())
def test_terms_are_separated_by_one_space_and_hold_no_syntax(text: str) -> None:
    found = list(terms(text))
    assert fts_document(text).split(" ") == (found or [""])
    assert not any(re.search(r"[\s\"'*^:(){}+\-\0]", term) for term in found)


@pytest.mark.parametrize("text", NASTY)
def test_a_query_is_quoted_terms_joined_by_or(text: str) -> None:
    assert re.fullmatch(r'("\w+"( OR "\w+")*)?', fts_query(text))


def test_a_query_is_bounded_and_has_each_term_once() -> None:
    assert fts_query("Lease rent, LEASE") == '"lease" OR "rent"'
    assert fts_query(" ".join(f"w{number}" for number in range(1000))).count('"') == 2 * MAX_QUERY_TERMS
    assert fts_query("。。。") == ""


def test_a_query_leaves_out_how_it_is_asked_unless_that_is_all() -> None:
    assert fts_query("What is the rent of the flat?") == '"rent" OR "flat"'
    assert fts_query("租金是多少") == '"租" OR "租金" OR "金" OR "金是" OR "是多"'
    assert fts_query("租金是多少") == fts_query("租金是多少？")
    assert fts_query("to be or not to be") == '"to" OR "be" OR "or" OR "not"'


def test_index_text_adds_title_and_headings_that_the_text_does_not_hold() -> None:
    assert index_text("Handbook", ("Leave", "Sick"), "Sick\n\nCall early.") == "Handbook\nLeave\nSick\n\nCall early."
    assert index_text("年假", ("年假",), "十五天") == "年假\n十五天"
    assert index_text("t", (), "t") == "t"


def test_the_tokeniser_names_what_it_depends_on() -> None:
    import unicodedata

    version, unicode_version, table = tokeniser_id().split("/")
    assert (version, unicode_version) == ("1", unicodedata.unidata_version)
    assert re.fullmatch(r"[0-9a-f]{8}", table)
