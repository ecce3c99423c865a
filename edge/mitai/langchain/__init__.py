"""Mitai for LangChain: a retriever, a vector store and a chat model (`docs/spec/langchain.md`).

    from mitai import KnowledgeBase, load_policy
    from mitai.langchain import ChatMitai, MitaiRetriever

    retriever = MitaiRetriever(knowledge_base=handbooks, k=4)
    model = ChatMitai(url=url, policy=load_policy(path), token=token, knowledge_base=handbooks)

Needs the extra `langchain`; without it the import fails with `mitai.errors.ExtraMissing`.
"""

from __future__ import annotations

from mitai.errors import ExtraMissing

try:
    import langchain_core as _langchain_core
except ModuleNotFoundError as error:
    if error.name != "langchain_core":
        raise
    raise ExtraMissing("langchain") from None

from mitai.langchain.chat_model import ChatMitai
from mitai.langchain.embedder import LangChainEmbedder
from mitai.langchain.retriever import MitaiRetriever
from mitai.langchain.vector_store import MitaiVectorStore

__all__ = ["ChatMitai", "LangChainEmbedder", "MitaiRetriever", "MitaiVectorStore"]

del _langchain_core
