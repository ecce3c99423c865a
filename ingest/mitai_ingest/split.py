"""Cut a document into passages (`docs/spec/passages.md` §7).

Every passage is a span of the document's text, only white space lies between them, and none is over the cap.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from mitai_ingest.document import Passage
from mitai_ingest.limits import DEFAULT_MAX_TOKENS, MIN_MAX_TOKENS
from mitai_ingest.normalise import is_han_or_kana
from mitai_ingest.sentences import lines, sentences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mitai_ingest.document import Block, Document
    from mitai_ingest.sentences import Span

CHARACTERS_PER_TOKEN: Final = 16  # more than any tokenizer packs into one on average: longer text is over the cap
LONGEST_SEARCH: Final = 512  # characters around the middle of a span that is cut
SMALL_SHARE: Final = 4  # a last passage under a quarter of the cap is filled up from the one before

_CLAUSE_MARKS: Final = frozenset("，、：；,;:")
_JOINERS: Final = frozenset("\u200c\u200d")


@dataclass(frozen=True)
class _Atom:
    """A piece that stays whole: a sentence, item, row or line."""

    start: int
    end: int
    tokens: int


def split(
    document: Document, count_tokens: Callable[[str], int], max_tokens: int = DEFAULT_MAX_TOKENS
) -> list[Passage]:
    """Cut a document into passages that tile it.

    Args:
        document: As loaded.
        count_tokens: The embedding model's length of a text, special tokens included.
        max_tokens: The cap on every passage, at least 16.

    Raises:
        ValueError: `max_tokens` is too small to hold a word.
    """
    if max_tokens < MIN_MAX_TOKENS:
        raise ValueError(f"max_tokens is {max_tokens}, and must be at least {MIN_MAX_TOKENS}")
    return _Splitter(document, count_tokens, max_tokens).passages()


class _Splitter:
    def __init__(self, document: Document, count_tokens: Callable[[str], int], max_tokens: int) -> None:
        self._document = document
        self._text = document.text
        self._count = count_tokens
        self._max = max_tokens
        self._special = count_tokens("")

    def passages(self) -> list[Passage]:
        passages: list[Passage] = []
        for section in _sections(self._document.blocks):
            last = section[-1]
            for atoms in self._pack([atom for block in section for atom in self._atoms(block)]):
                start, end = atoms[0].start, atoms[-1].end
                text = self._text[start:end]
                tokens = self._count(text)
                passages.append(Passage(len(passages), text, start, end, last.heading_path, last.page, tokens))
        return passages

    def _atoms(self, block: Block) -> Iterator[_Atom]:
        prose = block.kind in {"paragraph", "heading"}
        for start, end in (sentences if prose else lines)(self._text, block.start, block.end):
            if prose or self._fits(start, end):
                yield from self._pieces(start, end)
            else:
                for sentence in sentences(self._text, start, end):
                    yield from self._pieces(*sentence)

    def _pieces(self, start: int, end: int) -> Iterator[_Atom]:
        """Yield the span as one atom, or halved until every part is within the cap."""
        stack = [(start, end)]
        while stack:
            start, end = stack.pop()
            if self._fits(start, end) or end - start == 1:
                yield _Atom(start, end, self._tokens(start, end) - self._special)
                continue
            middle = _cut(self._text, start, end)
            stack += [_trim(self._text, middle, end), _trim(self._text, start, middle)]

    def _fits(self, start: int, end: int) -> bool:
        return end - start <= CHARACTERS_PER_TOKEN * self._max and self._tokens(start, end) <= self._max

    def _tokens(self, start: int, end: int) -> int:
        return self._count(self._text[start:end])

    def _pack(self, atoms: Sequence[_Atom]) -> list[list[_Atom]]:
        """Group atoms in order; each group's own text is within the cap."""
        groups: list[list[_Atom]] = []
        at = 0
        while at < len(atoms):
            stop = self._stop(atoms, at)
            groups.append(list(atoms[at:stop]))
            at = stop
        if len(groups) > 1:
            self._even_out(groups[-2], groups[-1])
        return groups

    def _stop(self, atoms: Sequence[_Atom], at: int) -> int:
        room = self._max - self._special - atoms[at].tokens
        stop = at + 1
        while stop < len(atoms) and atoms[stop].tokens <= room:
            room -= atoms[stop].tokens
            stop += 1
        while stop > at + 1 and not self._fits(atoms[at].start, atoms[stop - 1].end):
            stop -= 1  # a tokenizer may need more for the whole than for its parts
        return stop

    def _even_out(self, before: list[_Atom], last: list[_Atom]) -> None:
        if sum(atom.tokens for atom in last) * SMALL_SHARE >= self._max:
            return
        while len(before) > 1:
            gap = sum(atom.tokens for atom in before) - sum(atom.tokens for atom in last)
            closer = 2 * before[-1].tokens <= gap
            if not (closer and self._fits(before[-1].start, last[-1].end)):
                return
            if not self._fits(before[0].start, before[-2].end):  # a part can need more tokens than the whole
                return
            last.insert(0, before.pop())


def _sections(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Yield runs of blocks under one heading on one page; lone headings go with what they introduce."""
    introduction: list[Block] = []
    for _, run in groupby(blocks, key=lambda block: (block.heading_path, block.page)):
        section = list(run)
        if introduction and not _introduces(introduction[-1], section[0]):
            yield introduction
            introduction = []
        introduction += section
        if any(block.kind != "heading" for block in section):
            yield introduction
            introduction = []
    if introduction:
        yield introduction


def _introduces(heading: Block, block: Block) -> bool:
    return heading.page == block.page and heading.heading_path == block.heading_path[: len(heading.heading_path)]


def _cut(text: str, start: int, end: int) -> int:
    """Return where to cut a span that is over the cap: the best place nearest its middle."""
    quarter = (end - start) // 4
    middle = (start + end) // 2
    ranks: dict[int, int] = {}
    for distance in range(max(1, min(quarter, LONGEST_SEARCH))):
        for at in (middle - distance, middle + distance):
            if start < at < end:
                ranks.setdefault(_rank(text, at), at)
        if 0 in ranks:
            break
    return ranks[min(ranks)]


def _rank(text: str, at: int) -> int:
    """Tell how good a place between two characters is to cut: 0 is best."""
    left, right = text[at - 1], text[at]
    if left in _CLAUSE_MARKS and (right.isspace() or not right.isascii()):
        return 0
    if left.isspace() or right.isspace():
        return 1
    if _breaks_grapheme(left, right):
        return 4
    return 2 if is_han_or_kana(left) and is_han_or_kana(right) else 3


def _breaks_grapheme(left: str, right: str) -> bool:
    return (
        unicodedata.category(right) in {"Mn", "Mc", "Me"}
        or left in _JOINERS
        or right in _JOINERS
        or "\U0001f3fb" <= right <= "\U0001f3ff"
    )


def _trim(text: str, start: int, end: int) -> Span:
    while text[start].isspace():
        start += 1
    while text[end - 1].isspace():
        end -= 1
    return start, end
