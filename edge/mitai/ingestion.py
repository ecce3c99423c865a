"""How do files become stored passages? Embedded in windows, stored one transaction a document (ADR 0046)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mitai.formats import HEADING_TOKENS, WINDOW_PASSAGES
from mitai.storage.records import Change
from mitai.text.tokens import index_text
from mitai_ingest.limits import DEFAULT_MAX_TOKENS, MIN_MAX_TOKENS
from mitai_ingest.pipeline import Loaded, read
from mitai_ingest.walk import Failed, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from mitai.embed import Embedder
    from mitai.storage.store import Store
    from mitai_ingest.walk import Candidate


class Cancel(Protocol):
    """What tells that the run should end soon; a `threading.Event` is one."""

    def is_set(self) -> bool:
        """Tell whether to stop."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        path: The file that was dealt with last.
        files: Files dealt with: stored, unchanged or failed.
        total: Files that were found at the start.
        passages: Passages embedded so far.
    """

    path: Path = field(repr=False)
    files: int
    total: int
    passages: int


@dataclass(frozen=True)
class IngestSummary:
    """What a run did.

    Attributes:
        added: Documents that are new.
        replaced: Documents whose files had changed.
        unchanged: Files that were skipped, since they are stored as they are.
        failed: Files that gave no document, and why.
        passages: Passages stored.
        not_isolated: Documents whose parser this platform could not confine.
        cancelled: Whether the run was told to stop; what it had stored by then stays.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    failed: tuple[Failed, ...] = ()
    passages: int = 0
    not_isolated: int = 0
    cancelled: bool = False


class Ingestion:
    """One run of `KnowledgeBase.ingest`.

    Args:
        store: Where documents go.
        embedder: What makes their vectors.
        on_progress: Called after each file and each batch of passages; what it raises ends the run.
        cancel: Asked between files and between batches.
    """

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        *,
        on_progress: Callable[[Progress], None] | None,
        cancel: Cancel | None,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._on_progress = on_progress
        self._cancel = cancel
        self._summary = IngestSummary()
        self._window: list[Loaded] = []
        self._waiting = 0
        self._files = 0
        self._total = 0
        self._embedded = 0

    def run(self, paths: Iterable[Path]) -> IngestSummary:
        """Read every file at or below `paths` that is not stored as it is, and store it."""
        roots = list(paths)
        self._store.require_model(self._embedder.model_id)
        self._total = sum(1 for _ in walk(roots))
        room = self._embedder.max_tokens
        cap = max(MIN_MAX_TOKENS, min(DEFAULT_MAX_TOKENS, room - min(HEADING_TOKENS, room // 2)))
        for outcome in read(roots, self._embedder.count_tokens, skip=self._skip, max_tokens=cap):
            if self._stopped():
                break
            if isinstance(outcome, Failed):
                self._summary = replace(self._summary, failed=(*self._summary.failed, outcome))
                self._step(outcome.path, files=1)
                continue
            self._window.append(outcome)
            self._waiting += len(outcome.passages)
            if self._waiting >= WINDOW_PASSAGES:
                self._store_window()
        if not self._stopped():
            self._store_window()
        if self._summary.replaced:
            self._store.database.checkpoint()  # so that replaced text leaves the log too
        return replace(self._summary, cancelled=self._stopped())

    def _stopped(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()

    def _skip(self, candidate: Candidate) -> bool:
        if self._stopped():
            return True  # lets the walk run out without reading another file
        try:
            with candidate.path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").digest()
        except OSError:
            return False  # the loader meets the same error and reports it
        if not self._store.has_unchanged(candidate.path, digest):
            return False
        self._summary = replace(self._summary, unchanged=self._summary.unchanged + 1)
        self._step(candidate.path, files=1)
        return True

    def _store_window(self) -> None:
        window, self._window, self._waiting = self._window, [], 0
        vectors = self._embed(window) if window else None
        if vectors is None:
            return
        first = 0
        for loaded in window:
            after = first + len(loaded.passages)
            self._store_one(loaded, vectors[first:after])
            first = after

    def _embed(self, window: list[Loaded]) -> NDArray[np.float32] | None:
        """Return the vectors of all passages of the window, in order; None when cancelled."""
        texts = [
            index_text(loaded.document.title, passage.heading_path, passage.text)
            for loaded in window
            for passage in loaded.passages
        ]
        vectors = np.empty((len(texts), self._embedder.dimension), np.float32)
        for first in range(0, len(texts), WINDOW_PASSAGES):
            if self._stopped():
                return None
            batch = texts[first : first + WINDOW_PASSAGES]
            vectors[first : first + len(batch)] = self._embedder.embed_passages(batch)
            self._embedded += len(batch)
            self._step(window[-1].candidate.path)
        return vectors

    def _store_one(self, loaded: Loaded, vectors: NDArray[np.float32]) -> None:
        change = self._store.put_document(loaded.document, loaded.passages, vectors, model_id=self._embedder.model_id)
        before = self._summary
        self._summary = replace(
            before,
            added=before.added + (change is Change.ADDED),
            replaced=before.replaced + (change is Change.REPLACED),
            unchanged=before.unchanged + (change is Change.UNCHANGED),
            passages=before.passages + (0 if change is Change.UNCHANGED else len(loaded.passages)),
            not_isolated=before.not_isolated + (not loaded.isolated),
        )
        self._step(loaded.candidate.path, files=1)

    def _step(self, path: Path, *, files: int = 0) -> None:
        self._files += files
        if self._on_progress is not None:
            self._on_progress(Progress(path, self._files, max(self._total, self._files), self._embedded))
