"""The knowledge base: documents on this device, encrypted, searchable (`docs/spec/knowledge_base.md`).

with KnowledgeBase.create(Path("contracts"), passphrase="…") as kb:
    kb.ingest([Path("~/Documents/contracts").expanduser()])
    for hit in kb.search("When does the lease end?"):
        print(hit.document.name, hit.page, hit.text)
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mitai.embed import default_embedder
from mitai.errors import KnowledgeBaseExists, KnowledgeBaseNotFound, ModelMismatch, PassphraseRefused
from mitai.formats import BUSY_TIMEOUT_SECONDS, DATABASE_FILE, FOLDER_MODE, KEYSLOTS_FILE
from mitai.hardening import harden_process
from mitai.ingestion import Ingestion
from mitai.keyslots import keys, private_file
from mitai.keyslots.passphrase import calibrate
from mitai.retrieve import nearest, retrieve
from mitai.storage.store import Store
from mitai.storage.texts import Text
from mitai.storage.vectors import StoredVectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from typing import Self

    from mitai.embed import Embedder
    from mitai.ingestion import Cancel, IngestSummary, Progress
    from mitai.keyslots.keys import KeySlots, RootKey
    from mitai.keyslots.passphrase import Argon2Parameters
    from mitai.retrieve import Hit
    from mitai.storage.ledger import DisclosureLedger
    from mitai.storage.records import DocumentRecord, Removal
    from mitai.storage.revelations import Revelations
    from mitai.storage.texts import TextRecord

_RANDOM_SUFFIX_BYTES = 6


@dataclass(frozen=True)
class KnowledgeBaseInfo:
    """What a knowledge base is.

    Attributes:
        name: Its folder's name.
        path: Its folder.
        kb_id: Its random id, hexadecimal.
        created: Unix time in seconds.
        documents: How many.
        passages: How many.
        model_id: The embedding model that made its vectors; None before the first document.
        dimension: Of the vectors; 0 before the first document.
        slots: The kinds of its key slots, in order.
        size: Of its files on disk, in bytes.
        reveals_passages: Whether passages may go to a model that nobody attested.
    """

    name: str
    path: Path = field(repr=False)
    kb_id: str
    created: int
    documents: int
    passages: int
    model_id: str | None
    dimension: int
    slots: tuple[str, ...]
    size: int
    reveals_passages: bool


class KnowledgeBase:
    """An open knowledge base. Threads may share it; they take turns at the database.

    Made by `create` and `open`, closed by `close` or a `with` block.
    """

    def __init__(self, path: Path, slots: KeySlots, store: Store, embedder: Embedder | None) -> None:
        self._path = path
        self._slots = slots
        self._store = store
        self._vectors = StoredVectors(store)
        self._embedder = embedder
        self._embedder_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<KnowledgeBase {self._path.name!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        passphrase: str,
        keychain: bool = False,
        embedder: Embedder | None = None,
        argon2: Argon2Parameters | None = None,
    ) -> Self:
        """Create a knowledge base and open it.

        Args:
            path: A folder that does not exist yet, or is empty; its parents are created.
            passphrase: For the first key slot.
            keychain: Whether to add a slot that this machine's keychain opens.
            embedder: The embedding model; None takes the pinned one when it is first needed.
            argon2: How dear a guess is; None measures this machine (up to two seconds).

        Raises:
            KnowledgeBaseExists: Something is there.
            PassphraseRefused: The text cannot be a passphrase.
            NoKeychain: A keychain slot was asked for and cannot be had.
        """
        harden_process()
        path = path.absolute()
        if path.exists() and not _is_empty_folder(path):
            raise KnowledgeBaseExists(f"{path} exists already")
        root = keys.new_root_key()
        slots = [keys.passphrase_slot(root, passphrase, argon2 or calibrate())]
        if keychain:
            slots.append(keys.keychain_slot(root))
        keyslots = keys.KeySlots(root.kb_id, tuple(slots))
        try:
            _build(path, keyslots, root)
        except BaseException:
            keys.forget_keychain_slots(keyslots)
            raise
        return cls._open(path, keyslots, root, embedder, BUSY_TIMEOUT_SECONDS)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        passphrase: str | None = None,
        keychain: bool = False,
        embedder: Embedder | None = None,
        busy_timeout: float = BUSY_TIMEOUT_SECONDS,
    ) -> Self:
        """Open a knowledge base with a passphrase or the keychain.

        Args:
            path: Its folder.
            passphrase: Tried on every passphrase slot.
            keychain: Ask this machine's keychain instead.
            embedder: The embedding model; None takes the pinned one when it is first needed.
            busy_timeout: Seconds that a change waits for another process.

        Raises:
            KnowledgeBaseNotFound: There is none.
            WrongPassphrase: No slot opens.
            NoKeychain: The keychain does not have its key.
            KnowledgeBaseDamaged: Its files are not what was written.
            KnowledgeBaseTooNew: A newer version of Mitai made it.
        """
        harden_process()
        path = path.absolute()
        keyslots = keys.load_keyslots(path)
        if keychain:
            root = keyslots.open_with_keychain()
        elif passphrase is not None:
            root = keyslots.open_with_passphrase(passphrase)
        else:
            raise PassphraseRefused("neither a passphrase nor the keychain was given")
        return cls._open(path, keyslots, root, embedder, busy_timeout)

    @classmethod
    def _open(
        cls, path: Path, keyslots: KeySlots, root: RootKey, embedder: Embedder | None, busy_timeout: float
    ) -> Self:
        return cls(path, keyslots, Store.open(path / DATABASE_FILE, root, busy_timeout=busy_timeout), embedder)

    @staticmethod
    def require(path: Path) -> None:
        """Make sure that there is a knowledge base at `path`; needs no key.

        Raises:
            KnowledgeBaseNotFound: There is none.
        """
        if not (path / KEYSLOTS_FILE).is_file():
            raise KnowledgeBaseNotFound(f"there is no knowledge base at {path}")

    @staticmethod
    def all_in(folder: Path) -> list[Path]:
        """Return the knowledge bases in a folder, by name; needs no key."""
        if not folder.is_dir():
            return []
        found = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(path for path in found if (path / KEYSLOTS_FILE).is_file())

    @staticmethod
    def delete(path: Path) -> None:
        """Delete a whole knowledge base; needs no key.

        The key slots go first: without them, what is left on the disk's blocks stays ciphertext.

        Raises:
            KnowledgeBaseNotFound: There is none.
        """
        KnowledgeBase.require(path)
        (path / KEYSLOTS_FILE).unlink()  # first: from here on nothing opens it
        private_file.sync_folder(path)
        for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal", f"{DATABASE_FILE}-shm", f"{KEYSLOTS_FILE}.new"):
            (path / name).unlink(missing_ok=True)
        if _is_empty_folder(path):
            path.rmdir()

    @property
    def path(self) -> Path:
        """Return the folder."""
        return self._path

    @property
    def name(self) -> str:
        """Return the folder's name, which is the knowledge base's."""
        return self._path.name

    @property
    def embedder(self) -> Embedder:
        """Return the embedding model.

        Raises:
            ModelMissing: None was given and the pinned one is not on this machine.
        """
        with self._embedder_lock:
            if self._embedder is None:
                self._embedder = default_embedder()
            return self._embedder

    @property
    def ledger(self) -> DisclosureLedger:
        """Return the disclosure ledger."""
        return self._store.ledger

    @property
    def revelations(self) -> Revelations:
        """Return what clients with models of their own were given (`docs/spec/mcp.md`)."""
        return self._store.revelations

    @property
    def reveals_passages(self) -> bool:
        """Tell whether passages may go to a model that nobody attested; asked of the database each time."""
        return self._store.reveals_passages()

    def set_reveal_passages(self, *, allowed: bool) -> None:
        """Decide whether passages may go to a model that nobody attested (`docs/spec/mcp.md` §3)."""
        self._store.set_reveal_passages(allowed=allowed)

    def ingest(
        self,
        paths: Iterable[Path],
        *,
        on_progress: Callable[[Progress], None] | None = None,
        cancel: Cancel | None = None,
    ) -> IngestSummary:
        """Store every document at or below `paths` that is not stored as it is.

        Each document is stored whole or not at all, also when the process is killed; the next run goes on. A file that
        cannot be read is reported in the summary and stops nothing. Files that vanished stay until `remove`.

        Args:
            paths: Files and folders.
            on_progress: Called after each file and each batch of passages.
            cancel: Asked between files and batches; a `threading.Event` will do.

        Raises:
            ModelMismatch: The stored vectors are of another model.
            KnowledgeBaseBusy: Another process kept the write lock; what was stored stays.
        """
        return Ingestion(self._store, self.embedder, on_progress=on_progress, cancel=cancel).run(paths)

    def search(self, query: str, *, k: int = 8) -> list[Hit]:
        """Return the best `k` passages for a question, best first; none for a blank one.

        Raises:
            ModelMismatch: The stored vectors are of another model.
        """
        if not query.strip() or k < 1 or self._store.model_id() is None:
            return []
        query = query.encode("utf-8", "replace").decode()  # a terminal can hand in lone surrogates
        self._store.require_model(self.embedder.model_id)
        (vector,) = self.embedder.embed_queries([query])
        return retrieve(self._store, self._vectors, query, vector, k)

    def nearest(self, query: str | Sequence[float], *, k: int = 8) -> list[Hit]:
        """Return the `k` passages nearest to a text or a vector by meaning alone; the score of a hit is the cosine.

        Raises:
            ModelMismatch: The stored vectors are of another model, or of another dimension.
        """
        if k < 1 or self._store.model_id() is None:
            return []
        self._store.require_model(self.embedder.model_id)
        if isinstance(query, str):
            (vector,) = self.embedder.embed_queries([query.encode("utf-8", "replace").decode()])
        else:
            vector = np.asarray(query, np.float32)
            vector /= np.linalg.norm(vector) or 1.0
        if vector.shape != (self._store.dimension(),):
            raise ModelMismatch(f"a vector of this knowledge base has {self._store.dimension()} components")
        return nearest(self._store, self._vectors, vector, k)

    def put_texts(self, texts: Sequence[Text]) -> None:
        """Store texts of a program, each as a document of one passage; all or none.

        Args:
            texts: A text with the key of an older one takes its place.

        Raises:
            ModelMismatch: The stored vectors are of another model.
            KnowledgeBaseBusy: Another process kept the write lock; nothing was changed.
        """
        self._store.require_model(self.embedder.model_id)
        if texts:
            vectors = self.embedder.embed_passages([text.text for text in texts])
            tokens = [self.embedder.count_tokens(text.text) for text in texts]
            self._store.put_texts(texts, vectors, tokens, model_id=self.embedder.model_id)

    def texts(self, keys: Iterable[str]) -> list[Text]:
        """Return the texts with these keys, in this order; keys that are not there are left out."""
        ids = self._store.text_ids(keys)
        records, contents = self._store.texts.of_documents(ids.values()), self._store.texts.content(ids.values())
        return [Text(key, contents[number], records[number].metadata) for key, number in ids.items()]

    def texts_of(self, hits: Iterable[Hit]) -> dict[int, TextRecord]:
        """Return keys and metadata of those hits that are texts of a program, by document."""
        return self._store.texts.of_documents(hit.document.document_id for hit in hits)

    def remove_texts(self, keys: Iterable[str]) -> Removal:
        """Remove the texts with these keys, and everything here that quotes them; unknown keys are ignored."""
        return self._store.remove_documents(self._store.text_ids(keys).values())

    def passages_within(self, text: str) -> tuple[int, ...]:
        """Return the passages that stand word for word in `text`: for the ledger of what a program composed."""
        return self._store.passages_within(text)

    def documents(self) -> list[DocumentRecord]:
        """Return all documents in the order in which they were first ingested."""
        return self._store.documents()

    def remove(self, document: int | Path) -> Removal:
        """Remove a document, by its number or by the path it was ingested from, and everything here that quotes it.

        Raises:
            DocumentNotFound: There is no such document.
        """
        number = self._store.document_id_at(document.resolve()) if isinstance(document, Path) else document
        return self._store.remove_document(number)

    def info(self) -> KnowledgeBaseInfo:
        """Tell what this knowledge base is."""
        documents, passages = self._store.count()
        return KnowledgeBaseInfo(
            name=self.name,
            path=self._path,
            kb_id=self._slots.kb_id,
            created=self._store.created(),
            documents=documents,
            passages=passages,
            model_id=self._store.model_id(),
            dimension=self._store.dimension(),
            slots=tuple(slot.kind.value for slot in self._slots.slots),
            size=sum(file.stat().st_size for file in self._path.iterdir()),
            reveals_passages=self.reveals_passages,
        )

    def check(self) -> None:
        """Verify every page, table and index; reads everything.

        Raises:
            KnowledgeBaseDamaged: Something is not what was written.
        """
        self._store.verify()

    def close(self) -> None:
        """Close; harmless when closed already."""
        self._store.close()


def _build(path: Path, keyslots: KeySlots, root: RootKey) -> None:
    """Build the folder beside its place and move it there: it exists whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new-{os.urandom(_RANDOM_SUFFIX_BYTES).hex()}")
    fresh.mkdir(mode=FOLDER_MODE)
    try:
        private_file.create_empty(fresh / DATABASE_FILE)
        Store.create(fresh / DATABASE_FILE, root).close()
        keys.save_keyslots(fresh, keyslots)
        _move(fresh, path)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


def _move(fresh: Path, path: Path) -> None:
    try:
        fresh.rename(path)  # takes the place of an empty folder, and of nothing else
    except OSError:
        raise KnowledgeBaseExists(f"{path} exists already") from None
    private_file.sync_folder(path.parent)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not any(path.iterdir())
