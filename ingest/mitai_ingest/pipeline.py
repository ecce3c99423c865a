"""Folders to passages, file by file; a file that fails is reported and never stops the rest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mitai_ingest.errors import LoadError
from mitai_ingest.limits import DEFAULT_MAX_TOKENS
from mitai_ingest.load import Parser
from mitai_ingest.split import split
from mitai_ingest.walk import Candidate, Failed, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mitai_ingest.document import Document, Passage
    from mitai_ingest.limits import Limits


@dataclass(frozen=True)
class Loaded:
    """A file that gave a document.

    Attributes:
        candidate: The file as the walk found it.
        document: Its text and blocks.
        passages: Cut from it, in order.
        isolated: Whether its parser could reach no file, network or process.
    """

    candidate: Candidate
    document: Document = field(repr=False)
    passages: list[Passage] = field(repr=False)
    isolated: bool


def read(
    paths: Iterable[Path],
    count_tokens: Callable[[str], int],
    *,
    skip: Callable[[Candidate], bool] | None = None,
    max_tokens: int = DEFAULT_MAX_TOKENS,
    limits: Limits | None = None,
) -> Iterator[Loaded | Failed]:
    """Yield an outcome for every file at or below `paths` that is not skipped, as soon as it is known.

    Args:
        paths: Files and folders.
        count_tokens: The embedding model's length of a text, special tokens included.
        skip: Tells whether a file needs no reading, as when it has not changed; nothing is yielded for it.
        max_tokens: The cap on every passage.
        limits: What one file may cost.
    """
    with Parser(limits) as parser:
        for found in walk(paths):
            if isinstance(found, Failed):
                yield found
            elif skip is None or not skip(found):
                yield _outcome(parser, found, count_tokens, max_tokens)


def _outcome(
    parser: Parser, candidate: Candidate, count_tokens: Callable[[str], int], max_tokens: int
) -> Loaded | Failed:
    try:
        document = parser.load(candidate.path)
        isolated = parser.isolated
    except LoadError as error:
        return Failed(candidate.path, error)
    return Loaded(candidate, document, split(document, count_tokens, max_tokens), isolated)
