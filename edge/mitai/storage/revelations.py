"""What was given to a client whose model nobody attested? (`docs/spec/mcp.md` §4).

A row is on disk before its text is handed over. Ids stay for good; the text stands in a table of its own, which the
deletion of a document empties.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from mitai.errors import KnowledgeBaseError
from mitai.formats import MAX_CLIENT_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai.storage.database import Database, Row


@dataclass(frozen=True)
class RevelationRecord:
    """One thing that a client was given.

    Attributes:
        revelation_id: Its number, growing; counted apart from disclosures.
        time: Unix time in seconds.
        client: What the client calls itself; nobody checked it.
        tool: What it asked for: ``ask`` or ``search``.
        passage_ids: The passages that it rests on or quotes, in order.
        document_ids: The documents they came from, ascending.
        text: What it was given; None after one of the documents was removed.
    """

    revelation_id: int
    time: int
    client: str
    tool: str
    passage_ids: tuple[int, ...]
    document_ids: tuple[int, ...]
    text: str | None = field(repr=False)


class Revelations:
    """What clients of a knowledge base were given in the clear."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, *, client: str, tool: str, text: str, passage_ids: Iterable[int]) -> int:
        """Write a row and return its number once it is on disk; only then may the text be handed over.

        Raises:
            KnowledgeBaseError: A passage is no longer in the knowledge base; nothing may be handed over.
            KnowledgeBaseBusy: Another process is writing; nothing may be handed over.
        """
        name = "".join(c for c in client if c.isprintable())[:MAX_CLIENT_CHARACTERS]
        with self._database.write():
            number = self._database.insert(
                "INSERT INTO revelations (time, client, tool) VALUES (?, ?, ?)", (int(time.time()), name, tool)
            )
            self._database.insert("INSERT INTO revealed_text VALUES (?, ?)", (number, text))
            for position, passage_id in enumerate(passage_ids):
                self._record_passage(number, position, passage_id)
        return number

    def list_revelations(self) -> list[RevelationRecord]:
        """Return every row, oldest first."""
        with self._database.read():
            found = self._database.rows("SELECT id, time, client, tool FROM revelations ORDER BY id")
            return [self._record(row) for row in found]

    def forget_text_of(self, document_id: int) -> int:
        """Delete the text of every row that rests on a document, and return how many; part of the caller's change."""
        deleted = self._database.rows(
            "DELETE FROM revealed_text WHERE revelation_id IN"
            " (SELECT revelation_id FROM revealed_passages WHERE document_id = ?) RETURNING revelation_id",
            (document_id,),
        )
        return len(deleted)

    def _record_passage(self, revelation_id: int, position: int, passage_id: int) -> None:
        owner = self._database.row("SELECT document_id FROM passages WHERE id = ?", (passage_id,))
        if owner is None:
            raise KnowledgeBaseError(
                f"passage {passage_id} is no longer in the knowledge base", hint="Nothing was handed over. Ask again."
            )
        self._database.insert(
            "INSERT INTO revealed_passages VALUES (?, ?, ?, ?)", (revelation_id, position, passage_id, owner[0])
        )

    def _record(self, row: Row) -> RevelationRecord:
        number = cast("int", row[0])
        parts = self._database.rows(
            "SELECT passage_id, document_id FROM revealed_passages WHERE revelation_id = ? ORDER BY position", (number,)
        )
        text = self._database.row("SELECT text FROM revealed_text WHERE revelation_id = ?", (number,))
        return RevelationRecord(
            revelation_id=number,
            time=cast("int", row[1]),
            client=cast("str", row[2]),
            tool=cast("str", row[3]),
            passage_ids=tuple(cast("int", passage) for passage, _ in parts),
            document_ids=tuple(sorted({cast("int", document) for _, document in parts})),
            text=None if text is None else cast("str", text[0]),
        )
