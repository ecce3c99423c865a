"""Find for each sentence of an answer the place in the passages that supports it, on the device.

A citation says that these words stand there and agree in numbers, names and negation; it does not say
that both mean the same, so people are shown the quote. Spec: `docs/spec/answering.md` §2.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rapidfuzz import fuzz

from mitai.answering.claims import Number, agree, names, negated, numbers
from mitai.text.folding import Folded, fold
from mitai_ingest.sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mitai.answering.prompt import Quotable

QUOTE_THRESHOLD: Final = 0.85
COVERAGE_THRESHOLD: Final = 0.70
MIN_CONTENT_WORDS: Final = 2
MAX_WINDOW: Final = 3  # neighbouring sentences that may support one sentence together

_LIST_MARKER: Final = re.compile(
    r"\s*(?:[-*•·–—>#]+\s+|\(?\d{1,2}[.)、]\s*|[（(]?[一二三四五六七八九十]{1,3}[)）、]\s*|\*\*\s*)*"
)
_WORD: Final = re.compile(r"[a-z]+(?:['’][a-z]+)?|[぀-ヿ㐀-鿿豈-﫿]+")
_SUFFIX: Final = re.compile(r"(?:ations?|ments?|ingly|ings?|edly|ies|ied|ers?|ing|ed|es|ly|al|s|e|y)$")
_STOP_WORDS: Final = frozenset(
    re.findall(
        r"\w+",
        """
        a an and any are as at be been being but by can could did do does for from had has have he
        her his how i if in into is it its least may might more most must of on or our shall she
        should so such than that the their them then there these they this those to up was we were
        what when where which who whom will with would you your each per also all not no never
        answer question passage passages document documents according states state
        """,
    )
)
_HAN_STOP: Final = re.compile(r"[的了和与及或在是为于之其该也都就而并且]")


class Support(StrEnum):
    """Whether a sentence of an answer was found in what the device sent."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"
    NEUTRAL = "neutral"
    """It states nothing that could be looked up: a question, or hardly a word."""


@dataclass(frozen=True)
class Citation:
    """A place in a document.

    Attributes:
        passage_id: The passage's id in the knowledge base.
        file: The document's name.
        page: The page, counted from 1, where the format has pages.
        heading_path: The headings above it, outermost first.
        start: Where the quote starts in the document's text, in characters.
        end: Where it ends.
        quote: The exact text there.
        score: How well the sentence matches, 0…1.
    """

    passage_id: int
    file: str
    page: int | None
    heading_path: tuple[str, ...]
    start: int
    end: int
    quote: str
    score: float


@dataclass(frozen=True)
class CheckedSentence:
    """A sentence of an answer and what was found for it.

    Attributes:
        start: Where it starts in the answer, in characters.
        end: Where it ends.
        text: The sentence.
        support: What was found.
        citation: Where, for a supported sentence.
    """

    start: int
    end: int
    text: str
    support: Support
    citation: Citation | None


def cite(answer: str, passages: Sequence[Quotable]) -> tuple[CheckedSentence, ...]:
    """Return the sentences of `answer` in order, each with its best place in `passages` (best first)."""
    sources = [_Source(passage) for passage in passages]
    return tuple(_check(answer, start, end, sources) for start, end in claim_spans(answer))


def claim_spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of the sentences of `text` that hold a word, without the list markers before them."""
    for start, end in sentences(text, 0, len(text)):
        marker = _LIST_MARKER.match(text, start, end)
        begin = marker.end() if marker else start
        if re.search(r"\w", text[begin:end]):
            yield begin, end


def _check(answer: str, start: int, end: int, sources: list[_Source]) -> CheckedSentence:
    text = answer[start:end]
    claim = _Claim(text)
    if text.rstrip("\"'”’」』）) ").endswith(("?", "？")) or not claim.states_something:
        return CheckedSentence(start, end, text, Support.NEUTRAL, None)
    best: Citation | None = None
    for source in sources:
        found = source.best(claim)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return CheckedSentence(start, end, text, Support.SUPPORTED if best else Support.UNSUPPORTED, best)


def content_words(folded: str) -> set[str]:
    """Return what a folded text is about: stems of Latin words, bigrams of Han and kana runs."""
    words: set[str] = set()
    for run in _WORD.findall(folded):
        if run[0].isascii():
            if run not in _STOP_WORDS and len(run) > 1:
                words.add(_SUFFIX.sub("", run) if len(run) > 4 else run)  # noqa: PLR2004 - short words have no suffix
            continue
        for part in _HAN_STOP.split(run):
            if len(part) == 1:
                words.add(part)
            words.update(a + b for a, b in pairwise(part))
    return words


def _named(name: str, folded: str) -> bool:
    """Return whether a folded text holds a name as a whole; a plain word may be in the plural."""
    stem = fold(name).text
    plural = ""
    if stem.isalpha() and len(stem) > 3:  # noqa: PLR2004 - an acronym has no plural to lose
        stem, plural = stem.removesuffix("s"), "(?:e?s)?"
    return re.search(rf"(?<![a-z0-9]){re.escape(stem)}{plural}(?![a-z0-9])", folded) is not None


class _Claim:
    """A sentence of the answer, taken apart once."""

    def __init__(self, text: str) -> None:
        self.folded = fold(text).text
        self.words = content_words(self.folded)
        self.numbers = numbers(self.folded, strict=True)
        self.names = names(text)
        self.negated = negated(self.folded)

    @property
    def states_something(self) -> bool:
        """Return whether there is anything that could be looked up."""
        return len(self.words) >= (1 if self.numbers or self.names else MIN_CONTENT_WORDS)


class _Window:
    """Neighbouring sentences of a passage."""

    def __init__(self, source: Folded, spans: Sequence[tuple[int, int]]) -> None:
        self.start, self.end = spans[0][0], spans[-1][1]
        self.text = source.text[self.start : self.end]
        self.parts = [source.text[start:end] for start, end in spans]

    @cached_property
    def words(self) -> set[str]:
        return content_words(self.text)

    @cached_property
    def numbers(self) -> set[Number]:
        return numbers(self.text, strict=False)

    def negated_like(self, claim: _Claim) -> bool:
        """Return whether the part that is nearest to the claim denies or affirms as the claim does."""
        nearest = max(self.parts, key=lambda part: len(content_words(part) & claim.words))
        return negated(nearest) == claim.negated


class _Source:
    """A passage, taken apart once."""

    def __init__(self, passage: Quotable) -> None:
        self._passage = passage
        self._folded = fold(passage.text)
        labels = fold(" ".join([passage.document.name, *passage.heading_path])).text
        self._label_words = content_words(labels)
        self._everything = f"{self._folded.text} {labels}"
        spans = [self._to_folded(span) for span in claim_spans(passage.text)]
        self._windows = [
            _Window(self._folded, spans[index : index + size])
            for size in range(1, MAX_WINDOW + 1)
            for index in range(len(spans) - size + 1)
        ]

    def best(self, claim: _Claim) -> Citation | None:
        """Return the best place that supports `claim`; of equals the shortest and first."""
        if not all(_named(name, self._everything) for name in claim.names):
            return None
        best: tuple[float, _Window] | None = None
        for window in self._windows:
            score = self._score(claim, window)
            if score > (best[0] if best else 0.0) and self._agrees(claim, window):
                best = score, window
        return self._citation(*best) if best else None

    @staticmethod
    def _agrees(claim: _Claim, window: _Window) -> bool:
        return agree(claim.numbers, window.numbers) and window.negated_like(claim)

    def _score(self, claim: _Claim, window: _Window) -> float:
        """Return how well the window covers the claim; 0 below the thresholds."""
        coverage = len(claim.words & (window.words | self._label_words)) / len(claim.words)
        shared = claim.words & window.words
        score = coverage if coverage >= COVERAGE_THRESHOLD and shared else 0.0
        if len(window.text) >= len(claim.folded):
            quote = fuzz.partial_ratio(claim.folded, window.text, score_cutoff=100 * QUOTE_THRESHOLD) / 100
        else:
            quote = fuzz.ratio(claim.folded, window.text, score_cutoff=100 * QUOTE_THRESHOLD) / 100
        return max(score, quote)

    def _citation(self, score: float, window: _Window) -> Citation:
        start, end = self._folded.original_span(window.start, window.end)
        passage = self._passage
        return Citation(
            passage_id=passage.passage_id,
            file=passage.document.name,
            page=passage.page,
            heading_path=passage.heading_path,
            start=passage.start + start,
            end=passage.start + end,
            quote=passage.text[start:end],
            score=score,
        )

    def _to_folded(self, span: tuple[int, int]) -> tuple[int, int]:
        """Return the folded span of an original span."""
        origin = self._folded.origin
        start = bisect_left(origin, span[0])
        return start, max(start, bisect_left(origin, span[1]))
