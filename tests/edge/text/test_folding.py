from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.text.folding import fold


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Straße  CAFÉ\n\tx", "strasse cafe x"),
        ("員工帶薪年假", "员工带薪年假"),
        ("２５％ ﬁle", "25% file"),
        ("cafe\u0301", "cafe"),
        ("　全角　空格", "全角 空格"),
        ("", ""),
    ],
)
def test_what_means_the_same_is_the_same(text: str, folded: str) -> None:
    assert fold(text).text == folded


def test_a_span_leads_back_to_the_exact_original() -> None:
    text = "Die Straße  der ﬁnalen 員工 Regel"
    folded = fold(text)
    start = folded.text.index("strasse der final")
    begin, end = folded.original_span(start, start + len("strasse der final"))
    assert text[begin:end] == "Straße  der ﬁnal"
    start = folded.text.index("员工")
    begin, end = folded.original_span(start, start + 2)
    assert text[begin:end] == "員工"


@given(st.text(max_size=80))
def test_origins_ascend_and_stay_inside(text: str) -> None:
    folded = fold(text)
    assert len(folded.origin) == len(folded.text) + 1
    assert list(folded.origin) == sorted(folded.origin)
    assert folded.origin[-1] == len(text)
    assert fold(text).original_span(0, len(folded.text))[1] <= len(text)
