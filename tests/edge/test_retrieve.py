from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.retrieve import Hit, fuse, retrieve
from mitai.storage.vectors import StoredVectors
from mitai.text.script import Script
from support.embedder import HashingEmbedder
from support.knowledge_bases import document, put

if TYPE_CHECKING:
    from mitai.storage.store import Store

LATIN = dict.fromkeys(range(10), Script.LATIN)


def test_fusion_is_weighted_reciprocal_rank() -> None:
    lines = fuse([1, 2, 3], [3, 4], query=Script.LATIN, scripts=LATIN)
    assert [(line.passage_id, line.lexical_rank, line.dense_rank) for line in lines] == [
        (3, 3, 1),
        (1, 1, None),
        (2, 2, None),
        (4, None, 2),
    ]
    assert [line.score for line in lines] == pytest.approx([1 / 63 + 1 / 61, 1 / 61, 1 / 62, 1 / 62])


def test_across_scripts_words_count_a_quarter() -> None:
    scripts = {1: Script.LATIN, 2: Script.HAN, 3: Script.MIXED, 4: Script.NONE}
    lines = fuse([1, 2, 3, 4], [], query=Script.HAN, scripts=scripts)
    assert {line.passage_id: line.score for line in lines} == pytest.approx(
        {1: 0.25 / 61, 2: 1 / 62, 3: 1 / 63, 4: 1 / 64}
    )


def test_the_guard_keeps_a_stray_match_below_what_the_vectors_found() -> None:
    # Passage 1 shares a number with the question; passages 2 and 3 are about it.
    scripts = dict.fromkeys((1, 2, 3), Script.LATIN)
    guarded = fuse([1], [2, 3, 1], query=Script.HAN, scripts=scripts)
    plain = fuse([1], [2, 3, 1], query=Script.LATIN, scripts=scripts)
    assert plain[0].passage_id == 1
    assert [line.passage_id for line in fuse([1], [2, 3], query=Script.HAN, scripts=scripts)] == [2, 3, 1]
    assert guarded[0].score < plain[0].score


def test_ties_go_to_the_smaller_id() -> None:
    lines = fuse([5, 2], [2, 5], query=Script.LATIN, scripts=LATIN)
    assert [line.passage_id for line in lines] == [2, 5]


def test_passages_that_are_gone_are_left_out() -> None:
    assert [line.passage_id for line in fuse([11, 1], [12], query=Script.LATIN, scripts=LATIN)] == [1]


def _search(store: Store, query: str, k: int = 3) -> list[Hit]:
    (vector,) = HashingEmbedder().embed_queries([query])
    return retrieve(store, StoredVectors(store), query, vector, k)


def test_hits_say_where_they_stand_and_why(store: Store) -> None:
    put(store, document("/d/lease.txt", "The lease ends on 30 June.\nRent is due monthly.", heading="Terms"))
    put(store, document("/d/租約.txt", "租約於六月三十日終止。\n每月支付租金。"))
    hit = _search(store, "租约什么时候终止")[0]
    assert (hit.document.name, hit.text, hit.lexical_rank) == ("租約.txt", "租約於六月三十日終止。", 1)
    assert (hit.start, hit.end, hit.page, hit.passage_id) == (0, 11, None, 3)
    hit = _search(store, "When does the lease end?")[0]
    assert (hit.document.name, hit.heading_path, hit.document.document_id) == ("lease.txt", ("Terms",), 1)


def test_a_search_is_deterministic_and_bounded(store: Store) -> None:
    for number in range(8):
        put(store, document(f"/{number}.txt", "the same words\nand others"))
    first = _search(store, "same words", 5)
    assert len(first) == 5
    assert all(_search(store, "same words", 5) == first for _ in range(3))
    assert [hit.score for hit in first] == sorted((hit.score for hit in first), reverse=True)
    assert len(_search(store, "same words", 100)) == 16


def test_no_text_shows_in_a_repr(store: Store) -> None:
    put(store, document("/d/private.txt", "private words", heading="private heading"))
    shown = repr(_search(store, "words"))
    assert "passage_id=1" in shown
    assert "private" not in shown
