from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitai.errors import KnowledgeBaseDamaged
from mitai.storage.lexical import LexicalIndex
from mitai.text.tokens import STOP_TERMS, terms
from support.knowledge_bases import document, put

if TYPE_CHECKING:
    from mitai.storage.store import Store

WORDS = [
    "lease",
    "rent",
    "tenant",
    "landlord",
    "notice",
    "deposit",
    "租约",
    "租金",
    "租客",
    "房东",
    "通知",
    "押金",
    "the",
]


def _bm25(query: str, texts: dict[int, str], *, k1: float = 1.2, b: float = 0.75) -> list[tuple[int, float]]:
    """BM25 as Robertson and Zaragoza (2009) write it, with FTS5's floor under the inverse document frequency."""
    documents = {number: list(terms(text)) for number, text in texts.items()}
    mean = sum(map(len, documents.values())) / len(documents)
    scores: dict[int, float] = {}
    for term in dict.fromkeys(term for term in terms(query) if term not in STOP_TERMS):
        holding = sum(term in words for words in documents.values())
        weight = max(1e-6, math.log((len(documents) - holding + 0.5) / (holding + 0.5)))
        for number, words in documents.items():
            if count := words.count(term):
                share = count * (k1 + 1) / (count + k1 * (1 - b + b * len(words) / mean))
                scores[number] = scores.get(number, 0.0) + weight * share
    return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))


def _fill(store: Store, texts: dict[int, str]) -> None:
    with store.database.write():
        store.lexical.add(texts.items())


def test_scores_are_those_of_bm25(store: Store) -> None:
    generator = random.Random(7)
    texts = {number: " ".join(generator.choices(WORDS, k=generator.randint(3, 40))) for number in range(1, 61)}
    _fill(store, texts)
    for query in ("rent deposit", "租金和押金", "the landlord gives notice 通知", "nothing of this"):
        expected = _bm25(query, texts)
        found = store.lexical.search(query, 100)
        assert [score for _, score in found] == pytest.approx([score for _, score in expected], rel=1e-6)
        assert dict(found) == pytest.approx(dict(expected), rel=1e-6)


def test_ties_go_to_the_smaller_id_and_the_limit_holds(store: Store) -> None:
    _fill(store, dict.fromkeys(range(1, 11), "same words"))
    assert [number for number, _ in store.lexical.search("words", 4)] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("合約於六月三十日終止", "合约终止"),
        ("合约于六月三十日终止", "合約終止"),
        ("資訊安全政策", "资讯安全"),
        ("ＩＳＯ２７００１", "iso27001"),
    ],
)
def test_either_script_and_width_finds_the_other(store: Store, text: str, query: str) -> None:
    _fill(store, {1: "另一个不相干的段落", 2: text})
    assert store.lexical.search(query, 10)[0][0] == 2


@pytest.mark.parametrize(
    "query",
    [
        '" OR NEAR(',
        "lease OR rent",
        "NEAR(lease rent)",
        "terms:lease",
        "lease*",
        "^lease",
        "-lease",
        '"',
        "lease AND NOT rent",
        "((",
        "",
    ],
)
def test_no_query_syntax_can_be_written(store: Store, query: str) -> None:
    _fill(store, {1: "or near and not", 2: "lease", 3: "rent", 4: "leases"})
    asked = set(terms(query)) - STOP_TERMS or set(terms(query))
    holding = {
        number
        for number, text in ((1, "or near and not"), (2, "lease"), (3, "rent"), (4, "leases"))
        if asked & set(terms(text))
    }
    assert {number for number, _ in store.lexical.search(query, 10)} == holding


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.text())
def test_any_text_is_a_harmless_query(store: Store, query: str) -> None:
    store.lexical.search(query, 5)


def test_removed_passages_leave_the_index_whole(store: Store) -> None:
    put(store, document("/a.txt", "unique glacier\nshared words\n独特的冰川"))
    put(store, document("/b.txt", "shared words too"))
    with store.database.write():
        store.lexical.remove_document(1)
    assert store.lexical.search("glacier 冰川", 10) == []
    assert [number for number, _ in store.lexical.search("shared", 10)] == [4]
    store.lexical.verify()


def test_a_wrong_delete_is_found(store: Store) -> None:
    put(store, document("/a.txt", "glacier"))
    with store.database.write():
        store.database.insert("INSERT INTO lexical (lexical, rowid, terms) VALUES ('delete', ?, ?)", (1, "other"))
    with pytest.raises(KnowledgeBaseDamaged):
        store.verify()


def test_another_tokeniser_rebuilds_the_index(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, document("/a.txt", "Glacier words\n冰川", title="Alpine"))
    assert not store.lexical.is_outdated()
    assert not store.lexical.rebuild_if_outdated()
    monkeypatch.setattr("mitai.storage.lexical.tokeniser_id", lambda: "2/16.0.0/00000000")
    monkeypatch.setattr("mitai.storage.lexical._REBUILD_BATCH", 1)
    monkeypatch.setattr("mitai.storage.lexical.fts_document", lambda text: " ".join(term[::-1] for term in terms(text)))
    index = LexicalIndex(store.database)
    assert index.is_outdated()
    assert index.rebuild_if_outdated()
    assert not index.is_outdated()
    assert [number for number, _ in index.search("reicalg enipla", 10)] == [1, 2]
    assert index.search("glacier", 10) == []
    index.verify()
