"""What numbers stand in ggml's blocks? 32 weights share one half-precision scale, and in some types an offset.

Layouts (ggml, `ggml-common.h`): Q4_0 is a scale and 16 bytes, low nibbles first, minus 8; Q4_1 is a scale, an offset
and 16 bytes, low nibbles first; Q8_0 is a scale and 32 signed bytes. Little-endian.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from mitai.models.errors import ModelDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

WEIGHTS = 32  # in one block


class BlockType(Enum):
    """A way to store weights; the value is the number of bytes that `weights` many of them take."""

    F32 = (1, 4)
    Q4_0 = (WEIGHTS, 18)
    Q4_1 = (WEIGHTS, 20)
    Q8_0 = (WEIGHTS, 34)

    def bytes_for(self, shape: tuple[int, ...]) -> int:
        """Return the size of a tensor of this shape, whose last axis is contiguous.

        Raises:
            ModelDataError: The last axis is not a whole number of blocks.
        """
        weights, size = self.value
        if not shape or shape[-1] % weights:
            raise ModelDataError(f"a row of {shape[-1:]} weights is not a whole number of {self.name} blocks")
        return int(np.prod(shape, dtype=object)) // weights * size


def dequantise(stored: BlockType, data: memoryview, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weights in `data` as float32 of `shape`.

    Raises:
        ModelDataError: `data` is not exactly as long as `shape` needs, or a weight is not finite.
    """
    if len(data) != stored.bytes_for(shape):
        raise ModelDataError(f"{len(data)} bytes are not a {stored.name} tensor of shape {shape}")
    if stored is BlockType.F32:
        weights = np.frombuffer(data, "<f4")
    else:
        weights = _from_blocks(stored, np.frombuffer(data, np.uint8).reshape(-1, stored.value[1]))
    if not np.isfinite(weights).all():
        raise ModelDataError("a weight is not a finite number")
    return weights.reshape(shape)


def _from_blocks(stored: BlockType, blocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    scale = _halves(blocks[:, :2])
    if stored is BlockType.Q8_0:
        weights: NDArray[np.float32] = blocks[:, 2:].view(np.int8).astype(np.float32) * scale
    elif stored is BlockType.Q4_1:
        weights = _nibbles(blocks[:, 4:]) * scale + _halves(blocks[:, 2:4])
    else:
        weights = (_nibbles(blocks[:, 2:]) - np.float32(8)) * scale
    return weights


def _halves(columns: NDArray[np.uint8]) -> NDArray[np.float32]:
    halves: NDArray[np.float16] = np.ascontiguousarray(columns).view(np.dtype("<f2"))
    return halves.astype(np.float32)


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    nibbles: NDArray[np.uint8] = np.concatenate([packed & np.uint8(15), packed >> np.uint8(4)], axis=1)
    return nibbles.astype(np.float32)
