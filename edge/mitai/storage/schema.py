"""The tables of a knowledge base (`docs/spec/knowledge_base.md` §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

TEXTS: Final = (
    """
    CREATE TABLE texts (
        document_id INTEGER PRIMARY KEY REFERENCES documents (id),
        key         TEXT NOT NULL UNIQUE,
        metadata    TEXT NOT NULL
    ) STRICT
    """,
)

# As in the ledger of disclosures: ids for good, text in a table of its own, no foreign keys to what may be removed.
REVELATIONS: Final = (
    """
    CREATE TABLE revelations (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        time   INTEGER NOT NULL,
        client TEXT NOT NULL,
        tool   TEXT NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE revealed_passages (
        revelation_id INTEGER NOT NULL REFERENCES revelations (id),
        position      INTEGER NOT NULL,
        passage_id    INTEGER NOT NULL,
        document_id   INTEGER NOT NULL,
        PRIMARY KEY (revelation_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX revealed_documents ON revealed_passages (document_id)",
    """
    CREATE TABLE revealed_text (
        revelation_id INTEGER PRIMARY KEY REFERENCES revelations (id),
        text          TEXT NOT NULL
    ) STRICT
    """,
)

EVIDENCE: Final = (
    """
    CREATE TABLE evidence (
        id     INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        saved  BLOB NOT NULL
    ) STRICT
    """,
    "ALTER TABLE disclosures ADD COLUMN kind TEXT NOT NULL DEFAULT 'sealed'",
    "ALTER TABLE disclosures ADD COLUMN crypto_material TEXT",
    "ALTER TABLE disclosures ADD COLUMN evidence TEXT REFERENCES evidence (digest)",
)

TABLES: Final = (
    """
    CREATE TABLE meta (
        key   TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE documents (
        id            INTEGER PRIMARY KEY AUTOINCREMENT,
        path_hash     BLOB NOT NULL UNIQUE,
        path          BLOB NOT NULL,
        title         TEXT NOT NULL,
        media_type    TEXT NOT NULL,
        content_hash  BLOB NOT NULL,
        script        TEXT NOT NULL,
        passage_count INTEGER NOT NULL,
        ingested      INTEGER NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE passages (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        document_id  INTEGER NOT NULL REFERENCES documents (id),
        ordinal      INTEGER NOT NULL,
        text         TEXT NOT NULL,
        start        INTEGER NOT NULL,
        stop         INTEGER NOT NULL,
        page         INTEGER,
        heading_path TEXT NOT NULL,
        tokens       INTEGER NOT NULL,
        script       TEXT NOT NULL,
        UNIQUE (document_id, ordinal)
    ) STRICT
    """,
    """
    CREATE TABLE vectors (
        passage_id INTEGER PRIMARY KEY REFERENCES passages (id),
        vector     BLOB NOT NULL
    ) STRICT
    """,
    """
    CREATE TABLE disclosures (
        id             INTEGER PRIMARY KEY AUTOINCREMENT,
        time           INTEGER NOT NULL,
        url            TEXT NOT NULL,
        measurement    TEXT NOT NULL,
        tee            TEXT NOT NULL,
        simulated      INTEGER NOT NULL,
        policy_name    TEXT NOT NULL,
        policy_digest  TEXT NOT NULL,
        request_digest TEXT NOT NULL,
        attempt        INTEGER NOT NULL,
        outcome        TEXT NOT NULL,
        receipt        TEXT
    ) STRICT
    """,
    # No foreign keys to passages and documents: the ledger keeps their ids when they are gone.
    """
    CREATE TABLE disclosed_passages (
        disclosure_id INTEGER NOT NULL REFERENCES disclosures (id),
        position      INTEGER NOT NULL,
        passage_id    INTEGER NOT NULL,
        document_id   INTEGER NOT NULL,
        PRIMARY KEY (disclosure_id, position)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE INDEX disclosed_documents ON disclosed_passages (document_id)",
    """
    CREATE TABLE sent_text (
        disclosure_id INTEGER PRIMARY KEY REFERENCES disclosures (id),
        text          TEXT NOT NULL
    ) STRICT
    """,
    *TEXTS,
    *REVELATIONS,
    *EVIDENCE,
)

MIGRATIONS: Final[Mapping[int, tuple[str, ...]]] = {2: (*TEXTS, *REVELATIONS), 3: EVIDENCE}
"""What makes a database of the version before into one of this version."""

LEXICAL: Final = (
    "CREATE VIRTUAL TABLE lexical USING fts5 (terms, content='', detail=full, tokenize='ascii')",
    "INSERT INTO lexical (lexical, rank) VALUES ('secure-delete', 1)",
)
