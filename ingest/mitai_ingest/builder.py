"""Put fragments in their place: one text, exact spans, heading paths (`docs/spec/passages.md` §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mitai_ingest.document import Block, Document
from mitai_ingest.limits import MAX_HEADING_CHARS, MAX_TITLE_CHARS

if TYPE_CHECKING:
    from pathlib import Path

    from mitai_ingest.fragment import Parsed

BLANK_LINE: Final = "\n\n"


def assemble(parsed: Parsed, *, path: Path, media_type: str, sha256: bytes) -> Document:
    """Build the document of a file from its fragments, which are normalised and not empty."""
    blocks: list[Block] = []
    open_headings: list[tuple[int, str]] = []
    start = 0
    for fragment in parsed.fragments:
        if fragment.kind == "heading":
            while open_headings and open_headings[-1][0] >= fragment.level:
                open_headings.pop()
            open_headings.append((fragment.level, fragment.text[:MAX_HEADING_CHARS].strip()))
        end = start + len(fragment.text)
        heading_path = tuple(text for _, text in open_headings)
        blocks.append(Block(fragment.kind, start, end, heading_path, fragment.page))
        start = end + len(BLANK_LINE)
    return Document(
        path=path,
        media_type=media_type,
        title=(parsed.title or _top_heading(parsed) or path.stem)[:MAX_TITLE_CHARS],
        text=BLANK_LINE.join(fragment.text for fragment in parsed.fragments),
        blocks=tuple(blocks),
        sha256=sha256,
    )


def _top_heading(parsed: Parsed) -> str:
    headings = [fragment for fragment in parsed.fragments if fragment.kind == "heading"]
    return min(headings, key=lambda heading: heading.level).text if headings else ""
