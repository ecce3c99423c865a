"""What a loader hands over: pieces of text in reading order, not yet placed in a document (§4)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mitai_ingest import normalise

if TYPE_CHECKING:
    from mitai_ingest.document import BlockKind

CELL_SEPARATOR = " | "


@dataclass(frozen=True)
class Fragment:
    """A block before it has a place.

    Attributes:
        kind: As of the block.
        text: Its text; list items, table rows and lines of code one a line.
        level: 1–9 for a heading, 0 otherwise.
        page: Counted from 1, or None.
    """

    kind: BlockKind
    text: str = field(repr=False)
    level: int = 0
    page: int | None = None


@dataclass(frozen=True)
class Parsed:
    """One file as its loader read it.

    Attributes:
        title: The document's own title, or empty.
        fragments: In reading order.
    """

    title: str = field(repr=False)
    fragments: tuple[Fragment, ...] = field(repr=False)


def table_row(cells: list[str]) -> str:
    """Write one table row as a line: an empty cell keeps its place, a row without text is empty."""
    tidied = [normalise.one_line(cell) for cell in cells]
    return CELL_SEPARATOR.join(tidied) if any(tidied) else ""


def tidy(parsed: Parsed) -> Parsed:
    """Bring every text to the normal form of §5 and drop what is empty then."""
    fragments = (replace(fragment, text=_TIDY[fragment.kind](fragment.text)) for fragment in parsed.fragments)
    return Parsed(normalise.one_line(parsed.title), tuple(f for f in fragments if f.text))


_TIDY = {
    "heading": normalise.one_line,
    "paragraph": normalise.lines,
    "list": normalise.lines,
    "table": normalise.lines,
    "code": normalise.code,
}
