"""An embedder without a model: hashed character n-grams, deterministic, alike texts near each other."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from mitai.text.tokens import fold

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class HashingEmbedder:
    """Implements `mitai.embed.Embedder` with signed hashing of character bigrams and trigrams into 64 components."""

    def __init__(self, name: str = "hashing-64", *, dimension: int = 64) -> None:
        self.model_id = name
        self.dimension = dimension
        self.max_tokens = 512
        self.embedded = 0

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._embed(texts)

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        return self._embed(texts)

    def count_tokens(self, text: str) -> int:
        return sum(1 if ord(character) > 0x2E7F else 0.25 for character in text).__ceil__()

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            folded = f" {fold(text)} "
            for size in (2, 3):
                for start in range(len(folded) - size + 1):
                    code = zlib.crc32(folded[start : start + size].encode("utf-8", "surrogatepass"))
                    row[code % self.dimension] += 1 if code & 0x80000000 else -1
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors[lengths[:, 0] == 0, 0] = 1.0
        return (vectors / np.where(lengths == 0, 1.0, lengths)).astype(np.float32)
