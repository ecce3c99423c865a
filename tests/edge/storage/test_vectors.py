from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mitai.storage.store import Store
from mitai.storage.vectors import FlatIndex, StoredVectors
from support.embedder import HashingEmbedder
from support.knowledge_bases import document, put

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mitai.keyslots.keys import RootKey


def _unit(count: int, seed: int = 1) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_nearest_are_exact() -> None:
    vectors, queries = _unit(500), _unit(20, seed=2)
    ids = np.arange(500, dtype=np.int64) * 7 + 3
    index = FlatIndex(16)
    index.add(ids, vectors)
    for query in queries:
        found = index.search(query, 10)
        order = np.argsort(-(vectors @ query), kind="stable")[:10]
        assert [number for number, _ in found] == ids[order].tolist()
        assert [score for _, score in found] == pytest.approx((vectors @ query)[order].tolist(), rel=1e-5)


def test_removed_vectors_are_not_found_and_the_rest_are() -> None:
    vectors, ids = _unit(50), np.arange(50, dtype=np.int64)
    index = FlatIndex(16)
    index.add(ids, vectors)
    index.remove(np.array([7, 8, 999]))
    index.remove(ids[:0])
    assert len(index) == 48
    found = [number for number, _ in index.search(vectors[7], 100)]
    assert sorted(found) == [number for number in range(50) if number not in {7, 8}]


def test_ties_go_to_the_smaller_id() -> None:
    index = FlatIndex(16)
    index.add(np.array([9, 4, 6]), np.repeat(_unit(1), 3, axis=0))
    assert [number for number, _ in index.search(_unit(1)[0], 3)] == [4, 6, 9]


def test_an_empty_index_finds_nothing() -> None:
    assert FlatIndex(16).search(_unit(1)[0], 5) == []
    index = FlatIndex(16)
    index.add(np.array([1]), _unit(1))
    assert index.search(_unit(1)[0], 0) == []


def test_vectors_in_memory_follow_every_writer(store: Store, tmp_path: Path, root: RootKey) -> None:
    embedder = HashingEmbedder()
    vectors = StoredVectors(store)
    (query,) = embedder.embed_queries(["the lease ends in June"])
    assert vectors.search(query, 5) == []
    put(store, document("/a.txt", "the lease ends in June\nsomething else"))
    assert vectors.search(query, 5)[0] == (1, pytest.approx(1.0))
    other = Store.open(tmp_path / "kb" / "kb.db", root)
    put(other, document("/b.txt", "the lease ends in June"))
    assert [number for number, _ in vectors.search(query, 2)] == [1, 3]
    other.remove_document(1)
    assert [number for number, _ in vectors.search(query, 9)] == [3]
    other.remove_document(2)
    assert vectors.search(query, 9) == []
    other.close()


def test_vectors_are_loaded_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, document("/a.txt", "words"))
    vectors = StoredVectors(store)
    (query,) = HashingEmbedder().embed_queries(["words"])
    vectors.search(query, 1)
    monkeypatch.setattr(Store, "vector_ids", lambda _: pytest.fail("read again"))
    assert vectors.search(query, 1)
