"""Where do sentences end, in Latin script and in CJK? (`docs/spec/passages.md` §7)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from mitai_ingest.normalise import is_han_or_kana

if TYPE_CHECKING:
    from collections.abc import Iterator

Span: TypeAlias = tuple[int, int]

ABBREVIATIONS: Final = frozenset(
    "mr mrs ms dr prof st jr sr vs etc no nos fig figs eq sec art arts ch cf al ca approx dept est inc ltd co"  # noqa: SIM905 - a word list reads best as words
    " corp vol pp ed eds rev jan feb mar apr jun jul aug sep sept oct nov dec e.g i.e a.m p.m u.s u.k".split()
)

_CJK_ENDS = "。！？；｡…"
_LATIN_ENDS = ".!?"
_CLOSERS = "\"'”’」』）)】》〉〕〗］\\]}"
_END = re.compile(
    f"\n|(?P<cjk>[{_CJK_ENDS}][{_CJK_ENDS}{_LATIN_ENDS}]*)[{_CLOSERS}]*|(?P<latin>[{_LATIN_ENDS}]+)[{_CLOSERS}]*"
)
_WORD_BEFORE = re.compile(r"[\w.]*\Z")
_LONGEST_ABBREVIATION: Final = 12


def sentences(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the sentences of `text[start:end]` as spans into `text`, without white space at their ends."""
    begin = start
    for found in _END.finditer(text, start, end):
        if _ends(text, begin, found, end):
            yield from _trimmed(text, begin, found.end())
            begin = found.end()
    yield from _trimmed(text, begin, end)


def lines(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the lines of `text[start:end]` as spans into `text`, without white space at their ends."""
    while start < end:
        at = text.find("\n", start, end)
        stop = end if at < 0 else at
        yield from _trimmed(text, start, stop)
        start = stop + 1


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end


def _ends(text: str, begin: int, found: re.Match[str], end: int) -> bool:
    """Tell whether a mark that could end the sentence from `begin` does end it."""
    if found["latin"] is None:
        return True  # a line feed or a CJK mark
    after = text[found.end() : min(found.end() + 2, end)]
    if not after:
        return True
    if not after[0].isspace():
        before = text[found.start() - 1 : found.start()]
        return is_han_or_kana(after[0]) and (found["latin"] != "." or (before != "" and is_han_or_kana(before)))
    following = after[1:]
    if following.islower():
        return False
    if following and is_han_or_kana(following):
        return True
    return found["latin"] != "." or not _is_part_of_word(text, begin, found.start())


def _is_part_of_word(text: str, begin: int, dot: int) -> bool:
    """Tell whether a full stop belongs to an abbreviation, an initial, or a number that begins the line."""
    from_here = max(begin, dot - _LONGEST_ABBREVIATION)
    tail = _WORD_BEFORE.search(text, from_here, dot)
    word = tail[0] if tail else ""
    if word.isdigit():
        return not text[begin : dot - len(word)].strip()
    return word.lower() in ABBREVIATIONS or (len(word) == 1 and word.isascii() and word.isalpha())
