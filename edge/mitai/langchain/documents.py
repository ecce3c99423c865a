"""What does a hit look like as a document of LangChain? (`docs/spec/langchain.md` §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_core.documents import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitai.knowledge_base import KnowledgeBase
    from mitai.retrieve import Hit


def provenance(hit: Hit) -> dict[str, object]:
    """Return where a passage stands: file, page, headings, span, score."""
    return {
        "file": hit.document.name,
        "source": str(hit.document.path),
        "title": hit.document.title,
        "page": hit.page,
        "heading_path": list(hit.heading_path),
        "start": hit.start,
        "end": hit.end,
        "score": hit.score,
        "passage_id": hit.passage_id,
        "document_id": hit.document.document_id,
    }


def retrieved(knowledge_base: KnowledgeBase, hits: Sequence[Hit]) -> list[Document]:
    """Return hits with their provenance; what a program said about a text of its own stands beside it."""
    texts = knowledge_base.texts_of(hits)
    documents = []
    for hit in hits:
        text = texts.get(hit.document.document_id)
        metadata = provenance(hit) | (text.metadata if text else {})
        documents.append(Document(page_content=hit.text, metadata=metadata, id=text.key if text else None))
    return documents


def stored(knowledge_base: KnowledgeBase, hits: Sequence[Hit]) -> list[Document]:
    """Return hits as they were added: texts with exactly their metadata, passages of files with their provenance."""
    texts = knowledge_base.texts_of(hits)
    documents = []
    for hit in hits:
        text = texts.get(hit.document.document_id)
        metadata = text.metadata if text else provenance(hit)
        documents.append(Document(page_content=hit.text, metadata=metadata, id=text.key if text else None))
    return documents
