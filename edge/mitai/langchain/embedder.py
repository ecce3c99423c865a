"""An embedding model of LangChain as the embedding model of a knowledge base (`docs/spec/langchain.md` §6)."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import numpy as np

from mitai.answering.prompt import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray

ASSUMED_MAX_TOKENS: Final = 512


class LangChainEmbedder:
    """A `mitai.Embedder` around an `Embeddings`; vectors are brought to unit length.

    It runs wherever the `Embeddings` sends text: only one that runs on this device keeps the text here.

    Args:
        embeddings: The model.
        model_id: What tells its vectors from those of other models; made of its class and `model` or `model_name`
            if none is given.
        max_tokens: How many tokens of a passage it sees.
    """

    def __init__(
        self, embeddings: Embeddings, *, model_id: str | None = None, max_tokens: int = ASSUMED_MAX_TOKENS
    ) -> None:
        self.embeddings: Final = embeddings
        self.max_tokens: Final = max_tokens
        self.model_id: Final = model_id or _name(embeddings)
        self._dimension = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<LangChainEmbedder {self.model_id}>"

    @property
    def dimension(self) -> int:
        """Return the number of components of a vector; the model is asked once."""
        with self._lock:
            if not self._dimension:
                self._dimension = len(self.embeddings.embed_query("dimension"))
            return self._dimension

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions: float32 [n, dimension], rows of unit length."""
        return self._unit([self.embeddings.embed_query(text) for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 [n, dimension], rows of unit length."""
        return self._unit(self.embeddings.embed_documents(list(texts)))

    def count_tokens(self, text: str) -> int:
        """Estimate the tokens of a text."""
        return estimate_tokens(text)

    def _unit(self, rows: list[list[float]]) -> NDArray[np.float32]:
        vectors = np.asarray(rows, np.float32).reshape(len(rows), self.dimension)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: NDArray[np.float32] = (vectors / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
        return unit


def _name(embeddings: Embeddings) -> str:
    kind = type(embeddings)
    told = getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None)
    name = f"langchain/{kind.__module__}.{kind.__qualname__}"
    return f"{name}/{told}" if isinstance(told, str) else name
