"""LangChain's own suites for retrievers and vector stores, over real knowledge bases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests

from mitai.knowledge_base import KnowledgeBase
from mitai.langchain import LangChainEmbedder, MitaiRetriever, MitaiVectorStore
from support.knowledge_bases import CHEAP, PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[MitaiVectorStore]:
        embedder = LangChainEmbedder(self.get_embeddings())
        with KnowledgeBase.create(tmp_path / "kb", passphrase=PASSPHRASE, argon2=CHEAP, embedder=embedder) as kb:
            yield MitaiVectorStore(kb)
            kb.check()


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _fill(self, handbook: KnowledgeBase) -> None:
        self.handbook = handbook

    @property
    def retriever_constructor(self) -> type[MitaiRetriever]:
        return MitaiRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, object]:
        return {"knowledge_base": self.handbook}

    @property
    def retriever_query_example(self) -> str:
        return "How many days of paid annual leave does an employee have? 住宿费 保固期限"
