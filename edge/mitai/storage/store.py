"""What is in a knowledge base, and how does it change? (`docs/spec/knowledge_base.md` §5-§7).

One document is one transaction: row, passages, vectors and lexical rows appear and vanish together.
"""

from __future__ import annotations

import hmac
import json
import os
import time
from typing import TYPE_CHECKING, cast

import numpy as np

from mitai.errors import (
    DocumentNotFound,
    KnowledgeBaseDamaged,
    KnowledgeBaseError,
    KnowledgeBaseTooNew,
    ModelMismatch,
)
from mitai.formats import BUSY_TIMEOUT_SECONDS, SCHEMA_VERSION
from mitai.storage.database import Database
from mitai.storage.ledger import DisclosureLedger
from mitai.storage.lexical import LexicalIndex
from mitai.storage.records import DOCUMENT_COLUMNS, PASSAGE_COLUMNS, Change, Removal, document_record, passage_record
from mitai.storage.revelations import Revelations
from mitai.storage.schema import MIGRATIONS, TABLES
from mitai.storage.texts import Texts, text_document, text_path
from mitai.text.script import detect_script
from mitai.text.tokens import index_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mitai.keyslots.keys import RootKey
    from mitai.storage.database import Row
    from mitai.storage.records import DocumentRecord, PassageRecord
    from mitai.storage.texts import Text
    from mitai_ingest.document import Document, Passage

_VECTOR_TYPE = np.dtype("<f4")
_IDS_PER_QUERY = 500

_PUT_DOCUMENT = """
INSERT INTO documents (path_hash, path, title, media_type, content_hash, script, passage_count, ingested)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (path_hash) DO UPDATE SET
    title = excluded.title, media_type = excluded.media_type, content_hash = excluded.content_hash,
    script = excluded.script, passage_count = excluded.passage_count, ingested = excluded.ingested
RETURNING id
"""
_PUT_PASSAGE = """
INSERT INTO passages (document_id, ordinal, text, start, stop, page, heading_path, tokens, script)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ALL_DOCUMENTS = f"SELECT {DOCUMENT_COLUMNS} FROM documents ORDER BY id"  # noqa: S608 - constants
_SOME_DOCUMENTS = f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE id IN"  # noqa: S608 - constants
_SOME_PASSAGES = f"SELECT {PASSAGE_COLUMNS} FROM passages WHERE id IN"  # noqa: S608 - constants


class Store:
    """The content of one knowledge base, in its encrypted database.

    Attributes:
        database: The connection.
        lexical: The lexical index.
        ledger: The disclosure ledger.
        revelations: What clients with models of their own were given.
        texts: The texts that a program added.
    """

    def __init__(self, database: Database, root: RootKey) -> None:
        self.database = database
        self.lexical = LexicalIndex(database)
        self.ledger = DisclosureLedger(database)
        self.revelations = Revelations(database)
        self.texts = Texts(database)
        self._hash_key = root.content_hash_key()

    @classmethod
    def create(cls, path: Path, root: RootKey) -> Store:
        """Fill an empty file with the schema."""
        database = Database(path, root.database_key())
        store = cls(database, root)
        with database.write():
            database.script(TABLES)
            first = {"schema": SCHEMA_VERSION, "kb": root.kb_id, "created": int(time.time()), "generation": 0}
            database.many("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in first.items()])
            store.lexical.create()
        return store

    @classmethod
    def open(cls, path: Path, root: RootKey, *, busy_timeout: float = BUSY_TIMEOUT_SECONDS) -> Store:
        """Open an existing database.

        Raises:
            KnowledgeBaseNotFound: The file is missing.
            KnowledgeBaseDamaged: It is not what was written.
            KnowledgeBaseTooNew: A newer version made it.
        """
        if path.is_file() and path.stat().st_size == 0:
            raise KnowledgeBaseDamaged(f"{path.name} is empty")
        database = Database(path, root.database_key(), busy_timeout=busy_timeout)
        try:
            store = cls(database, root)
            store._check_identity(root.kb_id)
            store._migrate()
            if store.lexical.is_outdated():
                store.lexical.rebuild_if_outdated()
        except BaseException:
            database.close()
            raise
        return store

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    # -- documents

    def put_document(
        self, document: Document, passages: Sequence[Passage], vectors: NDArray[np.float32], *, model_id: str
    ) -> Change:
        """Store a document with its passages, instead of an older one from the same path, in one transaction.

        Args:
            document: The document.
            passages: Its passages, in order.
            vectors: float32, one row of unit length per passage.
            model_id: The model that made the vectors.

        Raises:
            ModelMismatch: The knowledge base has vectors of another model.
            KnowledgeBaseBusy: Another process is writing; nothing was changed.
        """
        path_hash, content_hash = self._path_hash(document.path), self._content_hash(document.sha256)
        with self.database.write():
            self._require_own_terms()
            self._bind_model(model_id, vectors.shape[1])
            known = self.database.row("SELECT id, content_hash FROM documents WHERE path_hash = ?", (path_hash,))
            if known is not None and known[1] == content_hash:
                return Change.UNCHANGED
            if known is not None:
                self._delete_passages(cast("int", known[0]))
            title = _storable(document.title)
            row = self.database.row(
                _PUT_DOCUMENT,
                (
                    path_hash,
                    os.fsencode(document.path),
                    title,
                    document.media_type,
                    content_hash,
                    detect_script(document.text).value,
                    len(passages),
                    int(time.time()),
                ),
            )
            self._insert_passages(cast("int", cast("Row", row)[0]), title, passages, vectors)
            self._next_generation()
        return Change.ADDED if known is None else Change.REPLACED

    def has_unchanged(self, path: Path, sha256: bytes) -> bool:
        """Tell whether the file at `path` is stored with this SHA-256."""
        row = self.database.row("SELECT content_hash FROM documents WHERE path_hash = ?", (self._path_hash(path),))
        return row == (self._content_hash(sha256),)

    def remove_document(self, document_id: int) -> Removal:
        """Remove a document and everything that quotes it (`docs/spec/knowledge_base.md` §7).

        Raises:
            DocumentNotFound: There is none of that number.
        """
        return self.remove_documents([document_id])

    def remove_documents(self, document_ids: Iterable[int]) -> Removal:
        """Remove documents as `remove_document` does, in one transaction: all of them or none.

        Raises:
            DocumentNotFound: There is none of one of the numbers.
        """
        passages = sent_texts = 0
        with self.database.write():
            self._require_own_terms()
            for document_id in document_ids:
                passages += self._delete_passages(document_id)
                sent_texts += self.ledger.forget_text_of(document_id) + self.revelations.forget_text_of(document_id)
                self.texts.forget(document_id)
                if not self.database.rows("DELETE FROM documents WHERE id = ? RETURNING id", (document_id,)):
                    raise DocumentNotFound(f"there is no document {document_id}")
            self._next_generation()
        return Removal(passages, sent_texts, purged=self.database.checkpoint())

    def put_texts(
        self, texts: Sequence[Text], vectors: NDArray[np.float32], tokens: Sequence[int], *, model_id: str
    ) -> None:
        """Store texts, each as a document of one passage, instead of older ones of the same keys; all or none.

        Args:
            texts: The texts.
            vectors: float32, one row of unit length per text.
            tokens: The length of each text.
            model_id: The model that made the vectors.

        Raises:
            ModelMismatch: The knowledge base has vectors of another model.
            KnowledgeBaseBusy: Another process is writing; nothing was changed.
        """
        changes = set()
        with self.database.write():
            for text, vector, length in zip(texts, vectors, tokens, strict=True):
                document, passage = text_document(text, length)
                changes.add(self.put_document(document, [passage], vector[np.newaxis, :], model_id=model_id))
                self.texts.put(self.document_id_at(document.path), text)
        if Change.REPLACED in changes:
            self.database.checkpoint()  # so that replaced text leaves the log too

    def text_ids(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the documents of texts by key; keys that are not there are left out."""
        hashes = {self._path_hash(text_path(key)): key for key in keys}
        found = {}
        for path_hash, key in hashes.items():
            row = self.database.row("SELECT id FROM documents WHERE path_hash = ?", (path_hash,))
            if row is not None:
                found[key] = cast("int", row[0])
        return found

    def passages_within(self, text: str) -> tuple[int, ...]:
        """Return the passages that stand word for word in `text`, ascending; reads every passage."""
        found = self.database.rows("SELECT id FROM passages WHERE text <> '' AND instr(?, text) ORDER BY id", (text,))
        return tuple(cast("int", row[0]) for row in found)

    def documents(self) -> list[DocumentRecord]:
        """Return all documents in the order in which they were first ingested."""
        return [document_record(row) for row in self.database.rows(_ALL_DOCUMENTS)]

    def document_id_at(self, path: Path) -> int:
        """Return the number of the document that was ingested from a path.

        Raises:
            DocumentNotFound: None was.
        """
        row = self.database.row("SELECT id FROM documents WHERE path_hash = ?", (self._path_hash(path),))
        if row is None:
            raise DocumentNotFound("no document was ingested from that path")
        return cast("int", row[0])

    def documents_of(self, document_ids: Iterable[int]) -> dict[int, DocumentRecord]:
        """Return documents by number; numbers that are gone are left out."""
        found = self._by_ids(_SOME_DOCUMENTS, document_ids)
        return {record.document_id: record for record in map(document_record, found)}

    def passages_of(self, passage_ids: Iterable[int]) -> dict[int, PassageRecord]:
        """Return passages by number; numbers that are gone are left out."""
        found = self._by_ids(_SOME_PASSAGES, passage_ids)
        return {record.passage_id: record for record in map(passage_record, found)}

    # -- vectors

    def vector_ids(self) -> NDArray[np.int64]:
        """Return the passage ids that have vectors, ascending."""
        return np.array(
            [row[0] for row in self.database.rows("SELECT passage_id FROM vectors ORDER BY passage_id")],
            np.int64,
        )

    def vectors(self, passage_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors of passages, one row each in the same order: float32 [n, dimension].

        Raises:
            KnowledgeBaseDamaged: One is missing or of the wrong size.
        """
        dimension = self.dimension()
        wanted = set(passage_ids.tolist())
        if len(wanted) > _IDS_PER_QUERY:
            found = self.database.rows("SELECT passage_id, vector FROM vectors WHERE passage_id >= ?", (min(wanted),))
        else:
            found = self._by_ids("SELECT passage_id, vector FROM vectors WHERE passage_id IN", wanted)
        blobs = {cast("int", number): cast("bytes", blob) for number, blob in found}
        size = dimension * _VECTOR_TYPE.itemsize
        try:
            joined = b"".join([blobs[number] for number in passage_ids.tolist()])
        except KeyError:
            raise KnowledgeBaseDamaged("a passage has no vector") from None
        if len(joined) != size * len(passage_ids):
            raise KnowledgeBaseDamaged("a vector has the wrong size")
        return np.frombuffer(joined, _VECTOR_TYPE).reshape(-1, dimension).astype(np.float32, copy=False)

    # -- meta

    def generation(self) -> int:
        """Return the counter that grows with every change of passages."""
        return int(self._meta("generation") or 0)

    def created(self) -> int:
        """Return the Unix time in seconds at which the knowledge base was created."""
        return int(self._meta("created") or 0)

    def model_id(self) -> str | None:
        """Return the embedding model that made the vectors; None before the first document."""
        return self._meta("embedding_model")

    def dimension(self) -> int:
        """Return the dimension of the vectors; 0 before the first document."""
        return int(self._meta("dimension") or 0)

    def require_model(self, model_id: str) -> None:
        """Refuse an embedding model whose vectors cannot be compared with the stored ones.

        Raises:
            ModelMismatch: Another model made them.
        """
        stored = self.model_id()
        if stored not in {None, model_id}:
            raise ModelMismatch(f"this knowledge base was made with the embedding model {stored}, not {model_id}")

    def reveals_passages(self) -> bool:
        """Tell whether passages may go to a model that nobody attested; no is what an absent or odd value means."""
        return self._meta("reveal_passages") == "yes"

    def set_reveal_passages(self, *, allowed: bool) -> None:
        """Decide whether passages may go to a model that nobody attested."""
        with self.database.write():
            self.database.insert(
                "INSERT INTO meta VALUES ('reveal_passages', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                ("yes" if allowed else "no",),
            )

    def count(self) -> tuple[int, int]:
        """Return the number of documents and of passages."""
        row = self.database.row("SELECT count(*), coalesce(sum(passage_count), 0) FROM documents")
        documents, passages = cast("tuple[int, int]", row)
        return documents, passages

    def verify(self) -> None:
        """Verify pages, tables, index, and that every passage has its vector and its lexical row; reads everything.

        Raises:
            KnowledgeBaseDamaged: Something does not fit.
        """
        self.database.verify_pages()
        self.database.verify_structure()
        self.lexical.verify()
        with self.database.read():
            counts = self.database.row(
                "SELECT (SELECT count(*) FROM passages), (SELECT count(*) FROM vectors),"
                " (SELECT count(*) FROM lexical_docsize), (SELECT coalesce(sum(passage_count), 0) FROM documents)"
            )
            orphans = self.database.row(
                "SELECT count(*) FROM passages LEFT JOIN vectors ON passage_id = passages.id"
                " LEFT JOIN lexical_docsize AS sizes ON sizes.id = passages.id"
                " WHERE passage_id IS NULL OR sizes.id IS NULL"
            )
        if counts is None or len(set(counts)) != 1 or orphans != (0,):
            raise KnowledgeBaseDamaged("a passage lacks its vector or its lexical row")

    # -- inside

    def _check_identity(self, kb_id: str) -> None:
        if self.database.row("SELECT name FROM sqlite_schema WHERE name = 'meta'") is None:
            raise KnowledgeBaseDamaged("the database is not that of a knowledge base")
        version = self._meta("schema")
        if version is None or not version.isdecimal() or self._meta("kb") != kb_id:
            raise KnowledgeBaseDamaged("the database is not that of this knowledge base")
        if int(version) > SCHEMA_VERSION:
            raise KnowledgeBaseTooNew(f"the knowledge base has schema {version}; this version knows {SCHEMA_VERSION}")

    def _migrate(self) -> None:
        """Bring a database of an older version to this one, in one transaction."""
        if int(self._meta("schema") or 0) == SCHEMA_VERSION:
            return
        with self.database.write():
            for version in range(int(self._meta("schema") or 0) + 1, SCHEMA_VERSION + 1):
                self.database.script(MIGRATIONS[version])
            self.database.rows("UPDATE meta SET value = ? WHERE key = 'schema'", (str(SCHEMA_VERSION),))

    def _meta(self, key: str) -> str | None:
        row = self.database.row("SELECT value FROM meta WHERE key = ?", (key,))
        return None if row is None else cast("str", row[0])

    def _require_own_terms(self) -> None:
        """Refuse to change an index that another version has rebuilt since: its terms are not the ones made here."""
        if self.lexical.is_outdated():
            raise KnowledgeBaseError(
                "another version of Mitai has rebuilt the index meanwhile",
                hint="Close and open the knowledge base, then go on.",
            )

    def _bind_model(self, model_id: str, dimension: int) -> None:
        self.require_model(model_id)
        if self.model_id() is None:
            self.database.many(
                "INSERT INTO meta VALUES (?, ?)",
                [("embedding_model", model_id), ("dimension", str(dimension))],
            )
        elif dimension != self.dimension():
            raise ModelMismatch(f"vectors have {dimension} dimensions, those of the knowledge base {self.dimension()}")

    def _insert_passages(
        self, document_id: int, title: str, passages: Sequence[Passage], vectors: NDArray[np.float32]
    ) -> None:
        ids = [
            self.database.insert(
                _PUT_PASSAGE,
                (
                    document_id,
                    passage.ordinal,
                    passage.text,
                    passage.start,
                    passage.end,
                    passage.page,
                    json.dumps(passage.heading_path, ensure_ascii=False),
                    passage.tokens,
                    detect_script(passage.text).value,
                ),
            )
            for passage in passages
        ]
        rows = vectors.astype(_VECTOR_TYPE, copy=False)
        self.database.many(
            "INSERT INTO vectors VALUES (?, ?)",
            [(number, row.tobytes()) for number, row in zip(ids, rows, strict=True)],
        )
        self.lexical.add(
            (number, index_text(title, passage.heading_path, passage.text))
            for number, passage in zip(ids, passages, strict=True)
        )

    def _delete_passages(self, document_id: int) -> int:
        self.lexical.remove_document(document_id)
        self.database.rows(
            "DELETE FROM vectors WHERE passage_id IN (SELECT id FROM passages WHERE document_id = ?)",
            (document_id,),
        )
        return len(self.database.rows("DELETE FROM passages WHERE document_id = ? RETURNING id", (document_id,)))

    def _next_generation(self) -> None:
        self.database.rows("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'")

    def _by_ids(self, sql: str, ids: Iterable[int]) -> list[Row]:
        wanted = sorted(set(ids))
        found: list[Row] = []
        for first in range(0, len(wanted), _IDS_PER_QUERY):
            part = wanted[first : first + _IDS_PER_QUERY]
            found += self.database.rows(f"{sql} ({','.join('?' * len(part))})", part)
        return found

    def _path_hash(self, path: Path) -> bytes:
        return hmac.digest(self._hash_key, b"path\0" + os.fsencode(path), "sha256")

    def _content_hash(self, sha256: bytes) -> bytes:
        return hmac.digest(self._hash_key, b"content\0" + sha256, "sha256")


def _storable(title: str) -> str:
    # A title can come from a file name that is not UTF-8; SQLite takes no lone surrogates.
    return title.encode("utf-8", "replace").decode()
