"""How are passages found by their vectors? (`docs/spec/knowledge_base.md` §9).

Vectors are searched in memory only; the database is where they are kept. An index on disk would hold what was deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mitai.storage.store import Store


class VectorIndex(Protocol):
    """A set of vectors with ids that finds the nearest by inner product."""

    def __len__(self) -> int: ...

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, float32 [n, dimension], under new ids."""

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove vectors; ids that are not there are ignored."""

    def search(self, query: NDArray[np.float32], limit: int) -> list[tuple[int, float]]:
        """Return up to `limit` (id, inner product) pairs, best first; ties go to the smaller id.

        Args:
            query: One vector [dimension].
            limit: How many at most.
        """


class FlatIndex:
    """Exact inner product over float32 vectors, by FAISS.

    Args:
        dimension: Of every vector.
    """

    def __init__(self, dimension: int) -> None:
        import faiss  # noqa: PLC0415 - 150 ms that only searching needs

        self._faiss = faiss
        self._index = faiss.IndexIDMap(faiss.IndexFlatIP(dimension))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add vectors, float32 [n, dimension], under new ids."""
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(vectors, np.float32), ids)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Remove vectors; ids that are not there are ignored."""
        if len(ids):
            self._index.remove_ids(self._faiss.IDSelectorBatch(np.ascontiguousarray(ids, np.int64)))

    def search(self, query: NDArray[np.float32], limit: int) -> list[tuple[int, float]]:
        """Return up to `limit` (id, inner product) pairs, best first; ties go to the smaller id.

        Args:
            query: One vector [dimension].
            limit: How many at most.
        """
        limit = min(limit, len(self))
        if limit < 1:
            return []
        scores, ids = self._index.search(np.ascontiguousarray(query, np.float32)[np.newaxis, :], limit)
        found = zip(cast("list[int]", ids[0].tolist()), cast("list[float]", scores[0].tolist()), strict=True)
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))


class StoredVectors:
    """The vectors of a store in memory, brought up to date before each search, whoever wrote since.

    Args:
        store: Where the vectors are kept.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._generation = -1
        self._ids = np.empty(0, np.int64)
        self._index: VectorIndex | None = None

    def search(self, query: NDArray[np.float32], limit: int) -> list[tuple[int, float]]:
        """Return up to `limit` (passage id, inner product) pairs, best first; part of the caller's snapshot."""
        self._refresh()
        return [] if self._index is None else self._index.search(query, limit)

    def _refresh(self) -> None:
        generation = self._store.generation()
        if generation == self._generation:
            return
        current = self._store.vector_ids()
        if self._index is None:
            if not len(current):
                return
            self._index = FlatIndex(self._store.dimension())
        self._index.remove(np.setdiff1d(self._ids, current, assume_unique=True))
        fresh = np.setdiff1d(current, self._ids, assume_unique=True)
        self._index.add(fresh, self._store.vectors(fresh))
        self._ids, self._generation = current, generation
