"""What the retriever and the vector store add to LangChain's own suites."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding

from mitai.errors import ModelMismatch, TextRefused, WrongPassphrase
from mitai.knowledge_base import KnowledgeBase
from mitai.langchain import LangChainEmbedder, MitaiRetriever, MitaiVectorStore
from support.knowledge_bases import PASSPHRASE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("question", "heading", "word"),
    [
        ("How many days of annual leave?", "Leave", "25 days"),
        ("出差住宿费标准是多少？", "差旅", "四百元"),
        ("保固期限多長？", "保固", "三十個月"),
    ],
)
async def test_a_passage_tells_where_it_stands(handbook: KnowledgeBase, question: str, heading: str, word: str) -> None:
    retriever = MitaiRetriever(knowledge_base=handbook, k=1)
    (found,) = await retriever.ainvoke(question)
    assert word in found.page_content
    told = found.metadata
    assert (told["file"], told["heading_path"], told["page"]) == ("handbook.md", [heading], None)
    assert told["end"] - told["start"] == len(found.page_content)
    assert told["score"] > 0
    assert found.id is None


def test_an_unknown_argument_is_refused_and_not_ignored(handbook: KnowledgeBase) -> None:
    with pytest.raises(TypeError, match="filter"):
        MitaiRetriever(knowledge_base=handbook).invoke("x", filter={"public": True})
    store = MitaiVectorStore(handbook)
    for call in (store.similarity_search, store.similarity_search_with_score):
        with pytest.raises(TypeError, match="filter"):
            call("x", filter={"public": True})
    with pytest.raises(TypeError, match="namespace"):
        store.add_texts(["x"], namespace="y")
    with pytest.raises(ValueError, match="ids"):
        store.delete()


def test_texts_and_files_are_found_side_by_side(handbook: KnowledgeBase) -> None:
    store = MitaiVectorStore(handbook)
    store.add_texts(["住宿费标准为每晚九百元。"], [{"來源": "公告", "page": 9}], ids=["公告/1"])
    (first, *_) = store.similarity_search("住宿费标准为每晚九百元。", k=4)
    assert first == Document(page_content="住宿费标准为每晚九百元。", metadata={"來源": "公告", "page": 9}, id="公告/1")
    assert any(found.metadata.get("file") == "handbook.md" for found in store.similarity_search("住宿费", k=4))
    retrieved = {found.id: found for found in MitaiRetriever(knowledge_base=handbook, k=4).invoke("住宿费标准")}
    assert retrieved["公告/1"].metadata["來源"] == "公告"
    assert retrieved["公告/1"].metadata["passage_id"]
    assert store.delete(["公告/1", "nothing"])
    assert store.get_by_ids(["公告/1"]) == []
    assert handbook.info().documents == 1


def test_scores_are_cosines_and_relevance_is_between_0_and_1(kb: KnowledgeBase) -> None:
    store = MitaiVectorStore(kb)
    store.add_texts(["the lease ends in June", "租約於六月到期"], ids=["a", "b"])
    (first, score), (_, other) = store.similarity_search_with_score("the lease ends in June", k=2)
    assert first.id == "a"
    assert score == pytest.approx(1.0, abs=1e-5)
    assert other < score
    ((nearest, relevance),) = store.similarity_search_with_relevance_scores("租約於六月到期", k=1)
    assert (nearest.id, 0.9 < relevance <= 1.0001) == ("b", True)
    with pytest.raises(ModelMismatch):
        store.similarity_search_by_vector([1.0, 2.0])
    assert [d.id for d in store.as_retriever(search_kwargs={"k": 1}).invoke("租約於六月到期")] == ["b"]


async def test_from_texts_makes_an_encrypted_knowledge_base(tmp_path: Path) -> None:
    embedding = DeterministicFakeEmbedding(size=8)
    path = tmp_path / "texts"
    texts = ["CANARY 金丝雀"]
    store = MitaiVectorStore.from_texts(texts, embedding, [{"n": 1}], ids=["k"], path=path, passphrase=PASSPHRASE)
    assert store.embeddings is embedding
    assert [d.id for d in await store.asimilarity_search("CANARY 金丝雀", k=1)] == ["k"]
    store.knowledge_base.close()
    assert b"CANARY" not in b"".join(file.read_bytes() for file in path.iterdir())
    with pytest.raises(WrongPassphrase):
        KnowledgeBase.open(path, passphrase="another")
    with KnowledgeBase.open(path, passphrase=PASSPHRASE, embedder=LangChainEmbedder(embedding, model_id="other")) as kb:
        with pytest.raises(ModelMismatch):
            MitaiVectorStore(kb).add_texts(["x"])
        with pytest.raises(ModelMismatch):
            MitaiVectorStore(kb).similarity_search("x")


def test_what_would_not_come_back_is_refused_and_nothing_of_the_batch_is_kept(kb: KnowledgeBase) -> None:
    store = MitaiVectorStore(kb)
    with pytest.raises(TextRefused):
        store.add_texts(["a", "b"], [{}, {"x": object()}])
    with pytest.raises(ValueError, match="longer"):
        store.add_texts(["a", "b"], ids=["1"])
    assert kb.info().documents == 0


def test_a_models_name_tells_its_vectors_from_others() -> None:
    class Local(DeterministicFakeEmbedding):
        model: str = "bge-m3"

    embedder = LangChainEmbedder(Local(size=4))
    assert embedder.model_id.endswith("Local/bge-m3")
    assert embedder.dimension == 4
    assert embedder.count_tokens("密态") >= 2
