"""A retriever of LangChain over a knowledge base (`docs/spec/langchain.md` §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from langchain_core.retrievers import BaseRetriever
from pydantic import Field, InstanceOf

from mitai.knowledge_base import KnowledgeBase  # noqa: TC001 - pydantic reads annotations at run time
from mitai.langchain.documents import retrieved
from mitai.langchain.tracing import refuse_tracing

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun
    from langchain_core.documents import Document
    from langchain_core.retrievers import LangSmithRetrieverParams


class MitaiRetriever(BaseRetriever):
    """The best passages for a question, by words and meaning; nothing leaves the device.

        MitaiRetriever(knowledge_base=kb, k=4).invoke("When does the lease end?")

    Each document's metadata has `file`, `page`, `heading_path`, `start`, `end`, `score`, `passage_id` and more.

    Attributes:
        knowledge_base: Where to look.
        k: How many passages; `invoke(question, k=3)` overrides it.
        allow_tracing: Whether LangSmith may be told questions and passages in the clear.

    Raises:
        TracingRefused: Tracing is on.
    """

    knowledge_base: InstanceOf[KnowledgeBase] = Field(exclude=True, repr=False)
    k: int = Field(default=4, ge=1)
    allow_tracing: bool = False

    def model_post_init(self, context: object, /) -> None:
        """Refuse to be made where everything would be traced."""
        super().model_post_init(context)
        refuse_tracing(allowed=self.allow_tracing)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: object
    ) -> list[Document]:
        del run_manager  # LangChain itself tells it of the result
        if unknown := kwargs.keys() - {"k"}:
            raise TypeError(f"a MitaiRetriever takes no {', '.join(sorted(unknown))}")
        hits = self.knowledge_base.search(query, k=cast("int", kwargs.get("k", self.k)))
        return retrieved(self.knowledge_base, hits)

    def _get_ls_params(self, **kwargs: object) -> LangSmithRetrieverParams:
        refuse_tracing(allowed=self.allow_tracing)  # asked for before any tracer is told of the question
        return super()._get_ls_params(**kwargs)
