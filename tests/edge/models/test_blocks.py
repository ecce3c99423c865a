from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.models.blocks import BlockType, dequantise
from mitai.models.errors import ModelDataError
from support.model_files import quantise_q4_0, random_weights

SCALE = np.float16(0.5).tobytes()
OFFSET = np.float16(-3).tobytes()


def test_q4_0_is_scale_times_nibble_minus_eight_low_nibbles_first() -> None:
    block = SCALE + bytes(i | (15 - i) << 4 for i in range(16))
    weights = dequantise(BlockType.Q4_0, memoryview(block), (32,))
    assert weights.tolist() == [0.5 * (n - 8) for n in [*range(16), *range(15, -1, -1)]]


def test_q4_1_is_scale_times_nibble_plus_offset() -> None:
    block = SCALE + OFFSET + bytes(i | (15 - i) << 4 for i in range(16))
    weights = dequantise(BlockType.Q4_1, memoryview(block), (32,))
    assert weights.tolist() == [0.5 * n - 3 for n in [*range(16), *range(15, -1, -1)]]


def test_q8_0_is_scale_times_signed_byte() -> None:
    numbers = np.arange(-16, 16, dtype=np.int8)
    weights = dequantise(BlockType.Q8_0, memoryview(SCALE + numbers.tobytes()), (32,))
    assert weights.tolist() == (0.5 * numbers).tolist()


def test_f32_is_unchanged_and_shaped_with_the_last_axis_contiguous() -> None:
    weights = random_weights(3, 5)
    assert np.array_equal(dequantise(BlockType.F32, memoryview(weights.tobytes()), (3, 5)), weights)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_quantised_weights_come_back_within_half_a_step(rows: int, blocks: int, seed: int) -> None:
    weights = random_weights(rows, 32 * blocks, seed=seed)
    restored = dequantise(BlockType.Q4_0, memoryview(quantise_q4_0(weights)), weights.shape)
    step = np.abs(weights.reshape(-1, 32)).max(axis=1, keepdims=True) / 7
    assert (np.abs(restored - weights).reshape(-1, 32) <= 0.51 * step).all()


@pytest.mark.parametrize("stored", [BlockType.Q4_0, BlockType.Q4_1, BlockType.Q8_0])
def test_an_independent_implementation_agrees(stored: BlockType) -> None:
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType[stored.name]
    raw = gguf.quantize(random_weights(6, 96, seed=3), kind)
    assert np.array_equal(dequantise(stored, memoryview(raw.tobytes()), (6, 96)), gguf.dequantize(raw, kind))


@pytest.mark.parametrize(
    ("stored", "size", "shape"),
    [
        (BlockType.Q4_0, 17, (32,)),
        (BlockType.Q4_0, 18, (31,)),
        (BlockType.Q4_0, 18, (16, 2)),
        (BlockType.Q4_1, 18, (32,)),
        (BlockType.F32, 8, (3,)),
        (BlockType.F32, 0, ()),
        (BlockType.F32, 4, (2**40, 2**40)),
    ],
)
def test_bytes_and_shape_must_agree(stored: BlockType, size: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelDataError):
        dequantise(stored, memoryview(bytes(size)), shape)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ModelDataError, match="finite"):
        dequantise(BlockType.F32, memoryview(np.array([1, bad], "<f4").tobytes()), (2,))
    with pytest.raises(ModelDataError, match="finite"):
        dequantise(BlockType.Q4_0, memoryview(np.float16(bad).tobytes() + bytes(16)), (32,))
