"""How does a text that a program adds become a document? (`docs/spec/knowledge_base.md` §5, §10).

It is a document of one passage under a key of the program's choice, and what the program says about it is kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from mitai.errors import TextRefused
from mitai.formats import MAX_METADATA_BYTES, MAX_TEXT_KEY_CHARACTERS, TEXT_FOLDER
from mitai_ingest.document import Block, Document, Passage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mitai.storage.database import Database

Metadata: TypeAlias = "Mapping[str, object]"

_MEDIA_TYPE = "text/plain"
_ESCAPED = re.compile(r"[%/\x00-\x1f\x7f]|^\.+$")
_IDS_PER_QUERY = 500


@dataclass(frozen=True)
class Text:
    """A text that a program added.

    Attributes:
        key: The program's own name for it; one text has it at a time.
        text: Unchanged.
        metadata: What the program says about it: JSON.

    Raises:
        TextRefused: It would not come back as it is.
    """

    key: str
    text: str = field(repr=False)
    metadata: Metadata = field(repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.key) <= MAX_TEXT_KEY_CHARACTERS:
            raise TextRefused(f"a key has {len(self.key)} characters")
        if not _is_unicode(self.key) or not _is_unicode(self.text):
            raise TextRefused("a key or text is not valid Unicode", hint="It holds one half of a surrogate pair.")
        if len(self.encoded_metadata().encode()) > MAX_METADATA_BYTES:
            raise TextRefused(f"metadata is over {MAX_METADATA_BYTES} bytes")

    def encoded_metadata(self) -> str:
        """Return the metadata as it is stored: JSON that reads back as it is.

        Raises:
            TextRefused: It is not JSON.
        """
        try:
            encoded = json.dumps(dict(self.metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            same = json.loads(encoded) == dict(self.metadata)
        except (TypeError, ValueError, RecursionError):
            same, encoded = False, ""
        if not same or not _is_unicode(encoded):
            raise TextRefused("metadata would not come back as it is")
        return encoded


@dataclass(frozen=True)
class TextRecord:
    """What the store keeps of a text beside its document.

    Attributes:
        document_id: Its document.
        key: The program's own name for it.
        metadata: What the program says about it.
    """

    document_id: int
    key: str
    metadata: dict[str, object] = field(repr=False)


class Texts:
    """Keys and metadata of the texts of one database. Methods that write run inside the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, document_id: int, text: Text) -> None:
        """Note what a document is, instead of what was noted before."""
        self._database.insert(
            "INSERT INTO texts VALUES (?, ?, ?) ON CONFLICT (document_id) DO UPDATE SET metadata = excluded.metadata",
            (document_id, text.key, text.encoded_metadata()),
        )

    def forget(self, document_id: int) -> None:
        """Forget a document's key and metadata, if it has any."""
        self._database.rows("DELETE FROM texts WHERE document_id = ?", (document_id,))

    def of_documents(self, document_ids: Iterable[int]) -> dict[int, TextRecord]:
        """Return the texts among documents, by document."""
        wanted = sorted(set(document_ids))
        found = {}
        for first in range(0, len(wanted), _IDS_PER_QUERY):
            for record in self._some(wanted[first : first + _IDS_PER_QUERY]):
                found[record.document_id] = record
        return found

    def content(self, document_ids: Iterable[int]) -> dict[int, str]:
        """Return the whole text of each document of one passage."""
        found = {}
        for document_id in document_ids:
            row = self._database.row("SELECT text FROM passages WHERE document_id = ?", (document_id,))
            if row is not None:
                found[document_id] = cast("str", row[0])
        return found

    def _some(self, document_ids: Sequence[int]) -> list[TextRecord]:
        marks = ",".join("?" * len(document_ids))
        rows = self._database.rows(
            f"SELECT document_id, key, metadata FROM texts WHERE document_id IN ({marks})",  # noqa: S608 - only marks
            document_ids,
        )
        return [TextRecord(cast("int", n), cast("str", key), json.loads(cast("str", told))) for n, key, told in rows]


def text_path(key: str) -> Path:
    """Return the path under which a text is a document: relative, so that it is never that of a file."""
    return Path(TEXT_FOLDER) / _ESCAPED.sub(lambda found: "".join(f"%{ord(c):02X}" for c in found.group()), key)


def text_document(text: Text, tokens: int) -> tuple[Document, Passage]:
    """Return a text as a document and its only passage.

    Args:
        text: The text.
        tokens: Its length by the embedding model's tokeniser.
    """
    size = len(text.text)
    digest = hashlib.sha256(json.dumps([text.text, text.encoded_metadata()]).encode()).digest()
    blocks = (Block("paragraph", 0, size, (), None),)
    document = Document(text_path(text.key), _MEDIA_TYPE, "", text.text, blocks, digest)
    return document, Passage(0, text.text, 0, size, (), None, tokens)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
