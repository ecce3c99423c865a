"""Which passages are about a question? Words and vectors, fused by rank (`docs/spec/knowledge_base.md` §9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mitai.formats import (
    CANDIDATES,
    DENSE_WEIGHT,
    LEXICAL_WEIGHT,
    LEXICAL_WEIGHT_ACROSS_SCRIPTS,
    RANK_OFFSET,
)
from mitai.text.script import Script, detect_script, differ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mitai.storage.records import DocumentRecord, PassageRecord
    from mitai.storage.store import Store
    from mitai.storage.vectors import StoredVectors


@dataclass(frozen=True)
class Hit:
    """A passage that was found, with why.

    Attributes:
        passage_id: Its number in the knowledge base.
        document: The document it stands in.
        text: The passage, unchanged.
        heading_path: The headings above it, outermost first.
        page: Counted from 1, None where the format has no pages.
        start: First code point in the document's normalised text.
        end: One past the last.
        score: Of the fused ranking; larger is better. Comparable within one search only.
        lexical_rank: Its place in the list by words, from 1; None if it is not in it.
        dense_rank: Its place in the list by vectors, from 1; None if it is not in it.
    """

    passage_id: int
    document: DocumentRecord = field(repr=False)
    text: str = field(repr=False)
    heading_path: tuple[str, ...] = field(repr=False)
    page: int | None
    start: int
    end: int
    score: float
    lexical_rank: int | None
    dense_rank: int | None


@dataclass(frozen=True)
class Fused:
    """One line of a fused ranking."""

    passage_id: int
    score: float
    lexical_rank: int | None
    dense_rank: int | None


def fuse(lexical: Sequence[int], dense: Sequence[int], *, query: Script, scripts: Mapping[int, Script]) -> list[Fused]:
    """Fuse two rankings by weighted reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009).

    Args:
        lexical: Passage ids by words, best first.
        dense: Passage ids by vectors, best first.
        query: The script of the question.
        scripts: The script of each passage. Passages that are not in it are left out.

    Returns:
        Every passage of either list, best first; ties go to the smaller id.
    """
    by_words = {passage: rank for rank, passage in enumerate(lexical, 1)}
    by_vectors = {passage: rank for rank, passage in enumerate(dense, 1)}
    ranking = []
    for passage in (by_words.keys() | by_vectors.keys()) & scripts.keys():
        word_rank, vector_rank = by_words.get(passage), by_vectors.get(passage)
        weight = LEXICAL_WEIGHT_ACROSS_SCRIPTS if differ(query, scripts[passage]) else LEXICAL_WEIGHT
        score = _share(weight, word_rank) + _share(DENSE_WEIGHT, vector_rank)
        ranking.append(Fused(passage, score, word_rank, vector_rank))
    return sorted(ranking, key=lambda line: (-line.score, line.passage_id))


def retrieve(store: Store, vectors: StoredVectors, query: str, query_vector: NDArray[np.float32], k: int) -> list[Hit]:
    """Find the best `k` passages for a question, on one snapshot of the database.

    Args:
        store: The knowledge base.
        vectors: Its vectors in memory.
        query: The question.
        query_vector: Its embedding, unit length, float32 [dimension].
        k: How many hits at most.
    """
    with store.database.read():
        lexical = [passage for passage, _ in store.lexical.search(query, max(CANDIDATES, k))]
        dense = [passage for passage, _ in vectors.search(query_vector, max(CANDIDATES, k))]
        passages = store.passages_of({*lexical, *dense})
        scripts = {number: passage.script for number, passage in passages.items()}
        best = fuse(lexical, dense, query=detect_script(query), scripts=scripts)[:k]
        documents = store.documents_of(passages[line.passage_id].document_id for line in best)
    return _hits(best, passages, documents)


def nearest(store: Store, vectors: StoredVectors, query_vector: NDArray[np.float32], k: int) -> list[Hit]:
    """Find the `k` passages nearest to a vector, on one snapshot; the score of a hit is their cosine.

    Args:
        store: The knowledge base.
        vectors: Its vectors in memory.
        query_vector: Unit length, float32 [dimension].
        k: How many hits at most.
    """
    with store.database.read():
        found = vectors.search(query_vector, k)
        passages = store.passages_of(passage for passage, _ in found)
        documents = store.documents_of(passage.document_id for passage in passages.values())
    lines = [Fused(passage, score, None, rank) for rank, (passage, score) in enumerate(found, 1)]
    return _hits(lines, passages, documents)


def _hits(
    lines: Sequence[Fused], passages: Mapping[int, PassageRecord], documents: Mapping[int, DocumentRecord]
) -> list[Hit]:
    hits = []
    for line in lines:
        passage = passages[line.passage_id]
        hits.append(
            Hit(
                passage_id=line.passage_id,
                document=documents[passage.document_id],
                text=passage.text,
                heading_path=passage.heading_path,
                page=passage.page,
                start=passage.start,
                end=passage.end,
                score=line.score,
                lexical_rank=line.lexical_rank,
                dense_rank=line.dense_rank,
            )
        )
    return hits


def _share(weight: float, rank: int | None) -> float:
    return 0.0 if rank is None else weight / (RANK_OFFSET + rank)
