"""How are passages found by their words? (`docs/spec/knowledge_base.md` §7, §8).

A contentless FTS5 table inside the encrypted database. It stores no text, so a deletion hands in the same terms again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from mitai.storage.schema import LEXICAL
from mitai.text.tokens import fts_document, fts_query, index_text, tokeniser_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai.storage.database import Database, Row

_META = "tokeniser"
_REBUILD_BATCH = 1000
_INDEXED = "SELECT passages.id, title, heading_path, text FROM passages JOIN documents ON documents.id = document_id"


class LexicalIndex:
    """The lexical index of one database. Methods that write run inside the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self) -> None:
        """Create the empty index."""
        self._database.script(LEXICAL)
        self._database.insert("INSERT INTO meta VALUES (?, ?)", (_META, tokeniser_id()))

    def add(self, passages: Iterable[tuple[int, str]]) -> None:
        """Index (passage id, index text) pairs."""
        self._database.many(
            "INSERT INTO lexical (rowid, terms) VALUES (?, ?)",
            ((number, fts_document(text)) for number, text in passages),
        )

    def remove_document(self, document_id: int) -> None:
        """Forget the passages of a document, while they and their document are still stored as they were indexed."""
        found = self._database.rows(f"{_INDEXED} WHERE document_id = ?", (document_id,))
        self._database.many(
            "INSERT INTO lexical (lexical, rowid, terms) VALUES ('delete', ?, ?)",
            [(number, fts_document(text)) for number, text in map(_index_row, found)],
        )

    def search(self, query: str, limit: int) -> list[tuple[int, float]]:
        """Return up to `limit` (passage id, BM25 score) pairs, the largest score first; ties go to the smaller id."""
        match = fts_query(query)
        if not match:
            return []
        found = self._database.rows(
            "SELECT rowid, rank FROM lexical WHERE lexical MATCH ? ORDER BY rank, rowid LIMIT ?",
            (match, limit),
        )
        return [(cast("int", number), -cast("float", rank)) for number, rank in found]

    def rebuild_if_outdated(self) -> bool:
        """Build the index again if another tokeniser made it, in one transaction; tell whether that was needed."""
        current = tokeniser_id()
        with self._database.write():
            if self._database.row("SELECT value FROM meta WHERE key = ?", (_META,)) == (current,):
                return False
            self._database.rows("INSERT INTO lexical (lexical) VALUES ('delete-all')")
            last = 0
            while batch := self._stored_after(last):
                self.add(batch)
                last = batch[-1][0]
            self._database.rows("UPDATE meta SET value = ? WHERE key = ?", (current, _META))
        return True

    def is_outdated(self) -> bool:
        """Tell whether another tokeniser made the index."""
        return self._database.row("SELECT value FROM meta WHERE key = ?", (_META,)) != (tokeniser_id(),)

    def verify(self) -> None:
        """Verify the index's own structure.

        Raises:
            KnowledgeBaseDamaged: It does not fit together.
        """
        with self._database.write():
            self._database.rows("INSERT INTO lexical (lexical) VALUES ('integrity-check')")

    def _stored_after(self, last: int) -> list[tuple[int, str]]:
        found = self._database.rows(
            f"{_INDEXED} WHERE passages.id > ? ORDER BY passages.id LIMIT ?",
            (last, _REBUILD_BATCH),
        )
        return [_index_row(row) for row in found]


def _index_row(row: Row) -> tuple[int, str]:
    number, title, heading_path, text = row
    return cast("int", number), index_text(cast("str", title), json.loads(cast("str", heading_path)), cast("str", text))
