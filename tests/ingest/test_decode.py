from __future__ import annotations

import random

import pytest

from mitai_ingest.decode import decode
from mitai_ingest.errors import UndecodableText
from support.document_files import HANS, HANT

GERMAN = "Die Straße führt über die Brücke nach Köln. Größe: 5 µm – ein Café."


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "gb18030"])
def test_simplified_chinese(encoding: str) -> None:
    assert decode(HANS.encode(encoding)) == HANS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "big5", "big5hkscs", "gb18030"])
def test_traditional_chinese(encoding: str) -> None:
    assert decode(HANT.encode(encoding)) == HANT


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_of_both_byte_orders(mark: bytes) -> None:
    order = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert decode(mark + HANS.encode(order)) == HANS


def test_western_european() -> None:
    assert decode(GERMAN.encode("cp1252")) == GERMAN


def test_every_slice_of_chinese_is_right_or_refused() -> None:
    chooser = random.Random(5)
    for text, encoding in ((HANS, "gb18030"), (HANT, "big5"), (HANT, "gb18030")):
        for _ in range(150):
            start = chooser.randrange(len(text) - 4)
            part = text[start : start + chooser.randrange(1, 40)]
            try:
                decoded = decode(part.encode(encoding))
            except UndecodableText:
                continue
            assert decoded == part


@pytest.mark.parametrize("data", ["你好".encode("gb18030"), "é".encode("cp1252"), b"\xff\xfe\x00\xd8"])
def test_too_little_or_broken_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableText) as refused:
        decode(data)
    assert "UTF-8" in refused.value.hint


def test_random_bytes_are_refused() -> None:
    chooser = random.Random(7)
    for _ in range(20):
        with pytest.raises(UndecodableText):
            decode(bytes(chooser.randrange(0x80, 0x100) for _ in range(300)))


@pytest.mark.parametrize("label", ["gb2312", "GBK", "gb18030"])
def test_html_may_name_its_charset(label: str) -> None:
    page = f'<html><head><meta charset="{label}"></head><body>年假</body></html>'
    assert "年假" in decode(page.encode("gb18030"), html=True)


def test_a_declared_charset_counts_for_html_only() -> None:
    page = '<meta charset="gbk">年假'.encode("gb18030")
    with pytest.raises(UndecodableText):
        decode(page)


def test_a_lying_declaration_gives_way_to_the_bytes() -> None:
    page = f"<meta charset=euc-kr><p>{HANS * 2}".encode("gb18030")
    assert HANS in decode(page, html=True)


def test_valid_utf_8_wins_over_a_declaration() -> None:
    assert "年假" in decode('<meta charset="big5">年假'.encode(), html=True)
