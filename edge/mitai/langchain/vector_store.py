"""A vector store of LangChain over an encrypted knowledge base (`docs/spec/langchain.md` §6)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from langchain_core.documents import Document
from langchain_core.vectorstores import VectorStore

from mitai.knowledge_base import KnowledgeBase
from mitai.langchain.documents import stored
from mitai.langchain.embedder import LangChainEmbedder
from mitai.storage.texts import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path
    from typing import Self

    from langchain_core.embeddings import Embeddings

    from mitai.retrieve import Hit


class MitaiVectorStore(VectorStore):
    """Texts with metadata, found by meaning, kept in an encrypted knowledge base.

        store = MitaiVectorStore(kb)
        store.add_texts(["The lease ends in June."], [{"contract": 7}], ids=["lease"])
        store.similarity_search("When does the lease end?", k=1)

    It searches everything in the knowledge base; passages of ingested files have no id and tell their provenance.
    Scores are cosines. For words and meaning together there is `MitaiRetriever`.

    Args:
        knowledge_base: Where texts go; its own embedding model makes their vectors.
    """

    def __init__(self, knowledge_base: KnowledgeBase) -> None:
        self.knowledge_base = knowledge_base

    def __repr__(self) -> str:
        return f"<MitaiVectorStore {self.knowledge_base!r}>"

    @property
    def embeddings(self) -> Embeddings | None:
        """Return the embedding model, where it is one of LangChain's."""
        embedder = self.knowledge_base.embedder
        return embedder.embeddings if isinstance(embedder, LangChainEmbedder) else None

    @classmethod
    def from_texts(  # type: ignore[override] # says what it needs where the base takes any keyword
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, object]] | None = None,
        *,
        ids: list[str] | None = None,
        path: Path,
        passphrase: str,
        model_id: str | None = None,
    ) -> Self:
        """Create a knowledge base with texts; close its `knowledge_base` when done.

        Args:
            texts: What to add.
            embedding: The model that makes all its vectors.
            metadatas: One for each text.
            ids: One for each text.
            path: A folder that does not exist yet.
            passphrase: For its first key slot.
            model_id: As for `LangChainEmbedder`.
        """
        embedder = LangChainEmbedder(embedding, model_id=model_id)
        store = cls(KnowledgeBase.create(path, passphrase=passphrase, embedder=embedder))
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, object]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: object,
    ) -> list[str]:
        """Store texts, all or none, and return their ids; one with the id of an older text takes its place.

        Raises:
            TextRefused: A text, id or metadata would not come back as it is.
        """
        _refuse(kwargs)
        contents = list(texts)
        keys = [key if key is not None else str(uuid.uuid4()) for key in ids or [None] * len(contents)]
        told = metadatas or [{} for _ in contents]
        entries = [Text(key, text, more) for key, text, more in zip(keys, contents, told, strict=True)]
        self.knowledge_base.put_texts(entries)
        return keys

    def delete(self, ids: list[str] | None = None, **kwargs: object) -> bool | None:
        """Remove texts and everything in the knowledge base that quotes them; ids that are not there are ignored.

        Raises:
            ValueError: No ids are given; `KnowledgeBase.delete` removes everything.
        """
        _refuse(kwargs)
        if ids is None:
            raise ValueError("delete needs ids")
        self.knowledge_base.remove_texts(ids)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the texts with these ids, in this order; ids that are not there are left out."""
        found = self.knowledge_base.texts(ids)
        return [Document(page_content=text.text, metadata=dict(text.metadata), id=text.key) for text in found]

    def similarity_search(self, query: str, k: int = 4, **kwargs: object) -> list[Document]:
        """Return the `k` nearest to a question, nearest first."""
        _refuse(kwargs)
        return stored(self.knowledge_base, self.knowledge_base.nearest(query, k=k))

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: object) -> list[tuple[Document, float]]:
        """Return the `k` nearest to a question with their cosines, nearest first."""
        _refuse(kwargs)
        return self._scored(self.knowledge_base.nearest(query, k=k))

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: object) -> list[Document]:
        """Return the `k` nearest to a vector, nearest first.

        Raises:
            ModelMismatch: The vector is of another dimension.
        """
        _refuse(kwargs)
        return stored(self.knowledge_base, self.knowledge_base.nearest(embedding, k=k))

    def _scored(self, hits: list[Hit]) -> list[tuple[Document, float]]:
        documents = stored(self.knowledge_base, hits)
        return [(document, hit.score) for document, hit in zip(documents, hits, strict=True)]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: (1 + cosine) / 2


def _refuse(kwargs: dict[str, object]) -> None:
    """Refuse what would be ignored: a filter that does not filter gives away what it should hold back."""
    if kwargs:
        raise TypeError(f"a MitaiVectorStore takes no {', '.join(sorted(kwargs))}")
