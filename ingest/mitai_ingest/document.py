"""A file becomes a document of blocks, which is cut into passages (`docs/spec/passages.md` §6, §7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

BlockKind: TypeAlias = Literal["heading", "paragraph", "list", "table", "code"]


@dataclass(frozen=True)
class Block:
    """A heading, paragraph, list, table or piece of code.

    Attributes:
        kind: What it is.
        start: First code point in the document's text.
        end: One past the last code point.
        heading_path: The headings it stands under, outermost first; a heading's own included.
        page: Counted from 1, None where the format has no pages.
    """

    kind: BlockKind
    start: int
    end: int
    heading_path: tuple[str, ...] = field(repr=False)
    page: int | None


@dataclass(frozen=True)
class Document:
    """One file's text in normal form, with its structure.

    Attributes:
        path: The file.
        media_type: As found from suffix and content.
        title: From the document itself, else the file's name without suffix.
        text: Normalised (§5); one blank line between blocks.
        blocks: In ascending order; together they cover all of `text` but white space.
        sha256: Of the file's bytes, 32 bytes.
    """

    path: Path
    media_type: str
    title: str = field(repr=False)
    text: str = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    sha256: bytes = field(repr=False)


@dataclass(frozen=True)
class Passage:
    """A piece of a document that is embedded, found, shown and quoted as one.

    Attributes:
        ordinal: Counted from 0 within the document.
        text: Exactly `document.text[start:end]`.
        start: First code point in the document's text.
        end: One past the last code point.
        heading_path: The headings it stands under, outermost first.
        page: Where it stands, counted from 1; None where the format has no pages.
        tokens: Its length by the embedding model's tokenizer.
    """

    ordinal: int
    text: str = field(repr=False)
    start: int
    end: int
    heading_path: tuple[str, ...] = field(repr=False)
    page: int | None
    tokens: int
