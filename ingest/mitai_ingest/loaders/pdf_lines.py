"""Headings, paragraphs and lists out of lines on pages: plain geometry, no PDF library (§4)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

from mitai_ingest.fragment import Fragment
from mitai_ingest.loaders.text import item
from mitai_ingest.normalise import is_cjk, join_lines, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HEADING_RATIO: Final = 1.15
HEADING_CHARS: Final = 120
GAP_RATIO: Final = 1.35
MAX_LEADING: Final = 1.6
SIZE_TOLERANCE: Final = 0.15
REPEAT_PAGES: Final = 3
MAX_LEVEL: Final = 6

_HYPHEN = re.compile("\ufffe(?P<next>.?)")  # PDFium writes a hyphen at a line's end so, and drops the line break
_DIGITS = re.compile(r"\d+")
_SENTENCE_END = re.compile("[.!?。！？；;:：…][\"'”’」』）)\\]]*$")
_ITEM = re.compile(r"(?:[•·▪‣◦–*-]|\d{1,3}\)|\(\w{1,3}\))\s+|[（(][一二三四五六七八九十0-9]{1,3}[）)]")


@dataclass(frozen=True)
class Line:
    """One line of a page.

    Attributes:
        text: Without white space at its ends.
        baseline: Distance from the page's lower edge, in points.
        size: Of its first character's font, as drawn, in points.
    """

    text: str
    baseline: float
    size: float


def structure(pages: Sequence[Sequence[Line]]) -> Iterator[Fragment]:
    """Yield the blocks of a document from its pages' lines."""
    repeated = _repeated(pages)
    kept = [[_unhyphenate(line) for at, line in enumerate(page) if _key(page, at) not in repeated] for page in pages]
    body = _body_size(kept)
    levels = _heading_levels(kept, body)
    open_block: Fragment | None = None
    for number, page in enumerate(kept, start=1):
        for fragment in _blocks(page, number, levels):
            if open_block is not None and _runs_on(open_block, fragment):
                open_block = replace(open_block, text=join_lines([open_block.text, fragment.text]))
                continue
            if open_block is not None:
                yield open_block
            open_block = fragment
    if open_block is not None:
        yield open_block


def _key(page: Sequence[Line], at: int) -> str | None:
    """Return what a running header or footer has in common over pages; None inside the page."""
    return _DIGITS.sub("0", page[at].text) if at in {0, len(page) - 1} else None


def _repeated(pages: Sequence[Sequence[Line]]) -> set[str | None]:
    counts: Counter[str | None] = Counter()
    for page in pages:
        counts.update({_key(page, at) for at in (0, len(page) - 1) if page})
    needed = max(REPEAT_PAGES, len(pages) / 2)
    return {key for key, count in counts.items() if key is not None and count >= needed}


def _unhyphenate(line: Line) -> Line:
    def repair(match: re.Match[str]) -> str:
        following = match["next"]
        return f"-{following}" if following.isdigit() or following.isupper() else following

    return replace(line, text=visible(_HYPHEN.sub(repair, line.text)))


def _body_size(pages: Sequence[Sequence[Line]]) -> float:
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page:
            weights[round(line.size * 2) / 2] += len(line.text)
    return max(weights, key=weights.__getitem__, default=0.0)


def _heading_levels(pages: Sequence[Sequence[Line]], body: float) -> dict[float, int]:
    """Map each size, in half points, that stands out of the body to a level: the largest is 1."""
    sizes = {
        round(line.size * 2) / 2
        for page in pages
        for line in page
        if line.size >= HEADING_RATIO * body and _may_be_heading(line)
    }
    return {size: min(at, MAX_LEVEL) for at, size in enumerate(sorted(sizes, reverse=True), start=1)}


def _may_be_heading(line: Line) -> bool:
    return len(line.text) <= HEADING_CHARS and not _SENTENCE_END.search(line.text)


def _blocks(page: Sequence[Line], number: int, levels: dict[float, int]) -> Iterator[Fragment]:
    pitch = _pitch(page)
    rows: list[Line] = []
    for line in page:
        if rows and _begins_block(rows[-1], line, pitch):
            yield _block(rows, number, levels)
            rows = []
        rows.append(line)
    if rows:
        yield _block(rows, number, levels)


def _pitch(page: Sequence[Line]) -> float:
    """Return the page's usual distance between a line and the next below it."""
    steps = [
        above.baseline - line.baseline
        for above, line in pairwise(page)
        if above.baseline > line.baseline and _same_size(above, line)
    ]
    return median(steps) if steps else 0.0


def _same_size(above: Line, line: Line) -> bool:
    return abs(above.size - line.size) <= SIZE_TOLERANCE * max(above.size, line.size)


def _begins_block(above: Line, line: Line, pitch: float) -> bool:
    step = above.baseline - line.baseline
    usual = min(pitch, MAX_LEADING * line.size)  # a page of few lines has no usual distance to speak of
    return step < 0 or step > GAP_RATIO * usual or not _same_size(above, line)


def _block(rows: Sequence[Line], number: int, levels: dict[float, int]) -> Fragment:
    level = levels.get(round(rows[0].size * 2) / 2, 0)
    if level and all(map(_may_be_heading, rows)):
        return Fragment("heading", join_lines(row.text for row in rows), level=level, page=number)
    if not _ITEM.match(rows[0].text):
        at = next((at for at, row in enumerate(rows) if _ITEM.match(row.text)), len(rows))
        if at == len(rows):
            return Fragment("paragraph", join_lines(row.text for row in rows), page=number)
    items: list[list[str]] = []
    for row in rows:
        if _ITEM.match(row.text) or not items:
            items.append([item(row.text)])
        else:
            items[-1].append(row.text)
    return Fragment("list", "\n".join(map(join_lines, items)), page=number)


def _runs_on(before: Fragment, after: Fragment) -> bool:
    """Tell whether a paragraph goes on over a page break."""
    if before.kind != "paragraph" or after.kind != "paragraph" or before.page == after.page:
        return False
    if not before.text or not after.text or _SENTENCE_END.search(before.text):
        return False
    return after.text[0].islower() or (is_cjk(after.text[0]) and is_cjk(before.text[-1]))
