"""What does the store tell about documents and passages?"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from mitai.text.script import Script

if TYPE_CHECKING:
    from mitai.storage.database import Row

DOCUMENT_COLUMNS: Final = "id, path, title, media_type, script, passage_count, ingested"
PASSAGE_COLUMNS: Final = "id, document_id, text, start, stop, page, heading_path, script"


@dataclass(frozen=True)
class DocumentRecord:
    """A document as the knowledge base knows it.

    Attributes:
        document_id: Its number; never used twice.
        path: Where the file was.
        title: From the document itself, else the file's name without suffix.
        media_type: Of the file.
        script: In which it is written.
        passage_count: How many passages it was cut into.
        ingested: Unix time in seconds.
    """

    document_id: int
    path: Path = field(repr=False)
    title: str = field(repr=False)
    media_type: str
    script: Script
    passage_count: int
    ingested: int

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.path.name


@dataclass(frozen=True)
class PassageRecord:
    """A stored passage.

    Attributes:
        passage_id: Its number; never used twice.
        document_id: The document it belongs to.
        text: Unchanged, as it stands in the document's normalised text.
        start: First code point in that text.
        end: One past the last.
        page: Counted from 1, None where the format has no pages.
        heading_path: Outermost first.
        script: In which it is written.
    """

    passage_id: int
    document_id: int
    text: str = field(repr=False)
    start: int
    end: int
    page: int | None
    heading_path: tuple[str, ...] = field(repr=False)
    script: Script


class Change(StrEnum):
    """What putting a document did."""

    ADDED = "added"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Removal:
    """What removing a document took away.

    Attributes:
        passages: How many passages.
        sent_texts: How many texts of the ledger were emptied because they quoted it.
        purged: Whether nothing of it is left in any page; else the log is folded in at the next close.
    """

    passages: int
    sent_texts: int
    purged: bool


def document_record(row: Row) -> DocumentRecord:
    """Make a record of the columns `DOCUMENT_COLUMNS`."""
    number, path, title, media_type, script, passage_count, ingested = row
    return DocumentRecord(
        document_id=cast("int", number),
        path=Path(os.fsdecode(cast("bytes", path))),
        title=cast("str", title),
        media_type=cast("str", media_type),
        script=Script(cast("str", script)),
        passage_count=cast("int", passage_count),
        ingested=cast("int", ingested),
    )


def passage_record(row: Row) -> PassageRecord:
    """Make a record of the columns `PASSAGE_COLUMNS`."""
    number, document_id, text, start, stop, page, heading_path, script = row
    return PassageRecord(
        passage_id=cast("int", number),
        document_id=cast("int", document_id),
        text=cast("str", text),
        start=cast("int", start),
        end=cast("int", stop),
        page=cast("int | None", page),
        heading_path=tuple(json.loads(cast("str", heading_path))),
        script=Script(cast("str", script)),
    )
