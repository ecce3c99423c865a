"""How does text become vectors, on this machine and without a way out to the network?

An `Embedder` is all that the rest knows. The default is a sentence-transformers directory on disk; nothing is ever
downloaded, and no code from a model's directory runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from mitai.errors import ModelError, ModelMissing
from mitai_crypto.manifest import ManifestEntry, model_digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

QUERY_PREFIX = "query: "  # what the e5 models were trained with (Wang et al., arXiv 2402.05672)
PASSAGE_PREFIX = "passage: "
_SPECIAL_TOKENS = 2  # begin and end of a sequence
_BATCH_TOKENS = 4096  # padding included: large enough for the matrix kernels, small enough to pad little
_WEIGHTS = "model.safetensors"  # the only format of weights that cannot hold code
_DIGEST_THREADS = 2


class Embedder(Protocol):
    """Turns text into vectors of unit length, so that an inner product is a cosine."""

    @property
    def model_id(self) -> str:
        """Return the name of the model and the digest of its files: equal ids make comparable vectors."""

    @property
    def dimension(self) -> int:
        """Return the number of components of a vector."""

    @property
    def max_tokens(self) -> int:
        """Return how many tokens of its own text a passage may have before the rest is not seen."""

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions: float32 [n, dimension], rows of unit length."""

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 [n, dimension], rows of unit length."""

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, without prefix and special tokens."""


class _Model(Protocol):
    """What is used of a `SentenceTransformer`."""

    max_seq_length: int

    def encode(
        self,
        inputs: Sequence[str],
        *,
        batch_size: int,
        normalize_embeddings: bool,
        convert_to_numpy: bool,
        show_progress_bar: bool,
    ) -> NDArray[np.float32]: ...

    def get_embedding_dimension(self) -> int | None: ...


class _Encoding(Protocol):
    ids: list[int]


class _Tokenizer(Protocol):
    def encode(self, sequence: str, *, add_special_tokens: bool) -> _Encoding: ...


class SentenceTransformerEmbedder:
    """Embeds with a sentence-transformers directory, on the CPU. Torch is loaded at the first embedding, not before.

    Args:
        directory: The model: `model.safetensors`, `tokenizer.json`, `modules.json` and what they name.
        threads: CPU threads for torch, for the whole process; None leaves its own choice.

    Raises:
        ModelMissing: The directory does not hold such a model.
    """

    def __init__(self, directory: Path, *, threads: int | None = None) -> None:
        for name in (_WEIGHTS, "tokenizer.json", "modules.json"):
            if not (directory / name).is_file():
                raise ModelMissing(
                    f"{directory} holds no embedding model ({name} is missing)",
                    hint="Fetch the pinned models first: make models",
                )
        self._directory = directory
        self._threads = threads
        self._lock = threading.Lock()
        self._model: _Model | None = None
        self._tokenizer: _Tokenizer | None = None
        self._model_id: str | None = None

    @property
    def model_id(self) -> str:
        """Return the directory's name and the digest of all its files."""
        if self._model_id is None:
            self._model_id = f"{self._directory.name}@sha256:{_digest(self._directory)}"
        return self._model_id

    @property
    def dimension(self) -> int:
        """Return the number of components of a vector."""
        dimension = self._loaded().get_embedding_dimension()
        if dimension is None:
            raise ModelError(f"{self._directory.name} does not tell the dimension of its vectors")
        return dimension

    @property
    def max_tokens(self) -> int:
        """Return how many tokens of its own text a passage may have."""
        return self._sequence_length() - _SPECIAL_TOKENS - self.count_tokens(PASSAGE_PREFIX)

    def embed_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed questions: float32 [n, dimension], rows of unit length."""
        return self._embed([QUERY_PREFIX + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages: float32 [n, dimension], rows of unit length."""
        return self._embed([PASSAGE_PREFIX + text for text in texts])

    def count_tokens(self, text: str) -> int:
        """Count the tokens of a text, without prefix and special tokens."""
        if self._tokenizer is None:
            from tokenizers import Tokenizer  # noqa: PLC0415 - 0.5 s with the vocabulary, only for ingest

            self._tokenizer = cast("_Tokenizer", Tokenizer.from_file(str(self._directory / "tokenizer.json")))
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        model = self._loaded()
        vectors = np.empty((len(texts), self.dimension), np.float32)
        lengths = [self.count_tokens(text) for text in texts]
        for batch in length_sorted_batches(lengths, _BATCH_TOKENS):
            vectors[batch] = model.encode(
                [texts[index] for index in batch],
                batch_size=len(batch),
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return vectors

    def _sequence_length(self) -> int:
        # From the file where it is there: an ingest that finds nothing new never loads torch.
        try:
            settings = json.loads((self._directory / "sentence_bert_config.json").read_bytes())
            return int(settings["max_seq_length"])
        except (OSError, ValueError, KeyError, TypeError):
            return self._loaded().max_seq_length

    def _loaded(self) -> _Model:
        with self._lock:
            if self._model is None:
                # Hashing and importing torch both take seconds and leave each other a core.
                with ThreadPoolExecutor(1) as pool:
                    digest = pool.submit(lambda: self.model_id)
                    self._model = _load(self._directory, self._threads)
                    digest.result()
            return self._model


def default_embedder() -> SentenceTransformerEmbedder:
    """Return the embedder of the pinned multilingual model.

    Raises:
        ModelMissing: It is not on this machine.
    """
    from mitai.models import locate  # noqa: PLC0415 - reads the lock file

    return SentenceTransformerEmbedder(locate("multilingual-e5-small"))


def length_sorted_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield batches of indices, longest texts first, each at most `budget` tokens with padding, or a single text."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    first = 0
    while first < len(order):
        size = max(1, budget // max(1, lengths[order[first]]))
        yield order[first : first + size]
        first += size


def _load(directory: Path, threads: int | None) -> _Model:
    try:
        import torch  # noqa: PLC0415 - seconds, only for embedding
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ModelError(
            f"the embedding model needs {error.name}, which is not installed", hint="Install the extra: mitai[embed]"
        ) from None

    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with _quiet():
            model = SentenceTransformer(
                str(directory),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"the embedding model in {directory} does not load ({type(error).__name__})",
            hint="Fetch it again: make models",
        ) from error
    return cast("_Model", model)


@contextmanager
def _quiet() -> Iterator[None]:
    # Loading draws a progress bar and a table about pooler weights that a mean-pooled model does not have.
    from transformers.utils import logging as model_logging  # noqa: PLC0415 - comes with sentence-transformers

    level, bars = model_logging.get_verbosity(), model_logging.is_progress_bar_enabled()
    model_logging.set_verbosity(logging.ERROR)
    model_logging.disable_progress_bar()
    try:
        yield
    finally:
        model_logging.set_verbosity(level)
        if bars:
            model_logging.enable_progress_bar()


def _digest(directory: Path) -> str:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    with ThreadPoolExecutor(_DIGEST_THREADS) as pool:
        digests = list(pool.map(_sha256, files))
    return model_digest(
        [
            ManifestEntry(path.relative_to(directory).as_posix(), path.stat().st_size, digest)
            for path, digest in zip(files, digests, strict=True)
        ]
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
