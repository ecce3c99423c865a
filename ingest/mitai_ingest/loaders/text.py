"""Plain text: paragraphs, underlined and numbered headings, lists (`docs/spec/passages.md` §4)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from mitai_ingest.decode import decode
from mitai_ingest.fragment import Fragment, Parsed
from mitai_ingest.normalise import columns, join_lines, lines

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_HEADING: Final = 80
WRAP_COLUMNS: Final = 40
WRAP_SHARE: Final = 0.7

_ORDINAL = "[零〇一二三四五六七八九十百千0-9０-９]+"
_HEADINGS = (
    (re.compile(f"第{_ORDINAL}章"), 1),
    (re.compile(f"第{_ORDINAL}[节節]"), 2),
    (re.compile(f"第{_ORDINAL}[条條]"), 3),
    (re.compile("[一二三四五六七八九十]+、"), 2),
    (re.compile(r"(?:chapter|part)\s+(?:\d+|[IVXLC]+|[A-Z])\b", re.IGNORECASE), 1),
    (re.compile(r"(?:section|article|appendix)\s+(?:[\d.]+|[IVXLC]+|[A-Z])\b", re.IGNORECASE), 2),
)
_NUMBERED = re.compile(r"(\d{1,3}(?:\.\d{1,3}){0,5})\.?\s+\D")
_SENTENCE_END = re.compile("[.!?。！？；;:：，,][\"'”’」』）)]*$")
_UNDERLINE = re.compile(r"(={3,}|-{3,})$")
_ITEM = re.compile(r"(?:[-*•·▪‣◦–]|\d{1,3}[.)]|\([0-9a-z]{1,3}\))\s+|[（(][一二三四五六七八九十0-9]{1,3}[）)]\s*")
_BULLET = re.compile(r"[*•·▪‣◦–]\s+")
_BLANK_LINES = re.compile(r"\n[ \t\u3000]*(?:\n[ \t\u3000]*)+")


def load(data: bytes) -> Parsed:
    """Read a plain text file.

    Raises:
        UndecodableText: Its encoding cannot be told.
    """
    return Parsed("", tuple(fragments(decode(data))))


def fragments(text: str) -> Iterator[Fragment]:
    """Yield the blocks of a plain text."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n")
    for block in _BLANK_LINES.split(unified):
        rows = [row for row in (lines(row) for row in block.split("\n")) if row]
        yield from _block(rows)


def heading_level(line: str) -> int:
    """Return the level of a line that stands alone and reads like a heading, else 0."""
    if len(line) > MAX_HEADING or _SENTENCE_END.search(line):
        return 0
    for pattern, level in _HEADINGS:
        if pattern.match(line):
            return level
    numbered = _NUMBERED.match(line)
    return numbered[1].count(".") + 1 if numbered else 0


def is_item(line: str) -> bool:
    """Tell whether a line begins with a list marker."""
    return _ITEM.match(line) is not None


def item(line: str) -> str:
    """Return a list item's line with its bullet, if it is one, written as `-`."""
    return _BULLET.sub("- ", line, count=1) if _BULLET.match(line) else line


def _block(rows: list[str]) -> Iterator[Fragment]:
    while len(rows) > 1 and (underline := _UNDERLINE.match(rows[1])):
        yield Fragment("heading", rows[0], level=1 if underline[1][0] == "=" else 2)
        rows = rows[2:]
    if not rows:
        return
    if len(rows) == 1 and (level := heading_level(rows[0])):
        yield Fragment("heading", rows[0], level=level)
        return
    first_item = next((at for at, row in enumerate(rows) if is_item(row)), len(rows))
    if rows[:first_item]:
        yield Fragment("paragraph", _unwrap(rows[:first_item]))
    if rows[first_item:]:
        yield Fragment("list", _items(rows[first_item:]))


def _items(rows: list[str]) -> str:
    items: list[str] = []
    for row in rows:
        if is_item(row) or not items:
            items.append(item(row))
        else:
            items[-1] = join_lines([items[-1], row])
    return "\n".join(items)


def _unwrap(rows: list[str]) -> str:
    """Join the lines that were wrapped to a width; keep the breaks of short lines."""
    widest = max(map(columns, rows))
    paragraph = [[rows[0]]]
    for above, row in pairwise(rows):
        if widest >= WRAP_COLUMNS and columns(above) >= WRAP_SHARE * widest:
            paragraph[-1].append(row)
        else:
            paragraph.append([row])
    return "\n".join(map(join_lines, paragraph))
