from __future__ import annotations

from decimal import Decimal

import pytest

from mitai.answering.claims import agree, names, negated, numbers
from mitai.text.folding import fold


def values(text: str, *, strict: bool = True) -> set[str]:
    return {f"{value.normalize():f}{unit}" for value, unit in numbers(fold(text).text, strict=strict)}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("25 days", {"25day"}),
        ("２５天", {"25day"}),
        ("twenty-five working days", {"25day"}),
        ("二十五个工作日", {"25day"}),
        ("1,000.50 euros", {"1000.5euro"}),
        ("$12.5", {"12.5dollar"}),
        ("two hundred and fifty", {"250"}),
        ("two thousand three hundred", {"2300"}),
        ("3万元", {"30000yuan"}),
        ("一万二千元", {"12000yuan"}),
        ("三千五百万元", {"35000000yuan"}),
        ("5 million", {"5000000"}),
        ("25%", {"25%"}),
        ("25 percent", {"25%"}),
        ("百分之二十五", {"25%"}),
        ("百分之2.5", {"2.5%"}),
        ("2024-01-31", {"2024", "1", "31"}),
        ("二〇二四年一月", {"2024year", "1"}),
        ("三个月", {"3month"}),
        ("三月", {"3"}),
        ("十月", {"10"}),
        ("两次", {"2"}),
        ("no number here", set()),
    ],
)
def test_numbers_by_value(text: str, found: set[str]) -> None:
    assert values(text) == found


@pytest.mark.parametrize("text", ["一般情况", "统一安排", "千万注意", "十分重要", "one of them", "一个办法", "万一"])
def test_numerals_inside_words_are_no_numbers_of_a_claim(text: str) -> None:
    assert values(text) == set()


def test_a_source_may_hold_them_all_the_same() -> None:
    assert values("one copy, 一个", strict=False) == {"1"}


def test_a_percentage_is_not_a_plain_number() -> None:
    assert numbers("25%", strict=True) == {(Decimal(25), "%")}
    assert numbers("25", strict=True) == {(Decimal(25), "")}


@pytest.mark.parametrize(
    ("claimed", "stated", "agreed"),
    [
        ("25 days", "二十五天", True),
        ("25 days", "25", True),
        ("25", "25 days", True),
        ("25 hours", "25 days", False),
        ("25 days", "25 hours and 30 days", False),
        ("25%", "25", False),
        ("25", "25%", False),
        ("25 days", "25%", False),
        ("3 months", "三月", True),
        ("5 and 6", "5", False),
        ("nothing", "25 days", True),
    ],
)
def test_agreement(claimed: str, stated: str, *, agreed: bool) -> None:
    assert agree(numbers(claimed, strict=True), numbers(fold(stated).text, strict=False)) is agreed


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("Employees ask Acme for order PO-4711.", {"acme", "po-4711"}),
        ("The VPN of the IT department", {"vpn", "it"}),
        ("Write to leave@example.com today", {"leave@example.com"}),
        ("HR approves it on the 3rd.", {"hr"}),
        ("Leave is granted and I agree.", set()),
        ("员工通过 VPN 或 Outlook 登录", {"vpn", "outlook"}),
        ("員工登入 gitlab 伺服器", {"gitlab"}),
        ("The A12 form and iPhone", {"a12", "iphone"}),
    ],
)
def test_names(sentence: str, found: set[str]) -> None:
    assert names(sentence) == found


@pytest.mark.parametrize(
    "text",
    [
        *("leave must not be taken", "it can't", "no leave", "without pay", "smoking is prohibited"),
        *("不得休假", "没有年假", "未经批准", "禁止吸烟", "无年假"),
    ],
)
def test_denials(text: str) -> None:
    assert negated(text)


@pytest.mark.parametrize(
    "text",
    [
        *("leave may be taken", "no later than 5 may", "not only leave", "whether or not", "no more than 10%"),
        *("不超过五天", "不得超过五天", "不仅如此", "无论如何", "未来五年"),
    ],
)
def test_turns_that_deny_nothing(text: str) -> None:
    assert not negated(text)
