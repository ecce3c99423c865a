from __future__ import annotations

import pytest

from mitai_ingest.fragment import Fragment
from mitai_ingest.loaders.text import fragments, heading_level, load


def read(text: str) -> list[tuple[str, int, str]]:
    return [(fragment.kind, fragment.level, fragment.text) for fragment in fragments(text)]


def test_blank_lines_end_blocks_and_underlines_make_headings() -> None:
    assert read("Policy\n======\nFirst.\n\n\nPart\n----\n\nSecond.\r\n\r\nThird.") == [
        ("heading", 1, "Policy"),
        ("paragraph", 0, "First."),
        ("heading", 2, "Part"),
        ("paragraph", 0, "Second."),
        ("paragraph", 0, "Third."),
    ]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("第三章 租金", 1),
        ("第十二节 其他", 2),
        ("第十二節 其他", 2),
        ("第五条 维护与维修", 3),
        ("第五條 維護", 3),
        ("三、租金", 2),
        ("Chapter 4: Leave", 1),
        ("Article IV", 2),
        ("Appendix B", 2),
        ("1 Scope", 1),
        ("2.3.1 Cleaning", 3),
        ("第五条 甲方每季度免费维护一次。", 0),
        ("Section 5 applies to all visitors.", 0),
        ("2026 was a good year", 0),
        ("Just a line", 0),
        ("1 " + "x" * 100, 0),
    ],
)
def test_a_line_alone_that_reads_like_a_heading(line: str, level: int) -> None:
    assert heading_level(line) == level


def test_wrapped_lines_are_joined_and_short_lines_stay() -> None:
    wrapped = "This paragraph was wrapped by an editor at\nabout forty-five columns, as many text files\nare."
    assert read(wrapped)[0][2].count("\n") == 0
    address = "Harbour & Hill\n1 Quay\nPort"
    assert read(address) == [("paragraph", 0, address)]


def test_wrapped_chinese_is_joined_without_spaces() -> None:
    wrapped = "员工每年享有十二天带薪年假，试用期为三个月，\n期满后由部门主管进行评估，评估结果在两周内\n通知。"
    assert read(wrapped) == [("paragraph", 0, wrapped.replace("\n", ""))]


def test_lists_with_their_lead_and_their_wrapped_items() -> None:
    assert read("Bring:\n• a badge\n* a very\n  small bag\n- water") == [
        ("paragraph", 0, "Bring:"),
        ("list", 0, "- a badge\n- a very small bag\n- water"),
    ]
    assert read("1. eins\n2) zwei\n（三）三") == [("list", 0, "1. eins\n2) zwei\n（三）三")]


def test_gb18030_is_decoded() -> None:
    text = "本公司员工每年享有十二天带薪年假。试用期为三个月，期满后由部门主管进行评估。"
    assert load(text.encode("gb18030")).fragments == (Fragment("paragraph", text),)
