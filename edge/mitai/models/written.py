"""How do the files of an unpacked model come out the same, byte for byte, on every machine?

JSON with sorted keys, and safetensors with sorted tensors, are written here instead of by the libraries that read
them: their output changes between versions, and then no digest of a directory could be pinned.
Format: safetensors, https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

JsonValue: TypeAlias = "bool | int | float | str | Sequence[JsonValue] | Mapping[str, JsonValue] | None"

_ALIGNMENT = 8  # the header is padded so that the data is aligned


class Precision(Enum):
    """The types of number that are written; the value is the size in bytes."""

    F32 = 4
    BF16 = 2


@dataclass(frozen=True)
class OutputTensor:
    """A tensor to write, computed only when its turn comes.

    Attributes:
        name: The name that the reading library expects.
        shape: Of the array that `weights` returns.
        weights: Makes the float32 array.
    """

    name: str
    shape: tuple[int, ...]
    weights: Callable[[], NDArray[np.float32]] = field(repr=False)


def write_json(path: Path, value: JsonValue) -> None:
    """Write `value` with sorted keys, so that equal values are equal bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_bytes(text.encode() + b"\n")


def write_safetensors(path: Path, tensors: Iterable[OutputTensor], precision: Precision) -> None:
    """Write tensors in the order of their names, all in one precision, one in memory at a time."""
    ordered = sorted(tensors, key=lambda tensor: tensor.name)
    header: dict[str, JsonValue] = {"__metadata__": {"format": "pt"}}
    end = 0
    for tensor in ordered:
        begin, end = end, end + int(np.prod(tensor.shape)) * precision.value
        header[tensor.name] = {"dtype": precision.name, "shape": tensor.shape, "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % _ALIGNMENT)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in ordered:
            weights = tensor.weights()
            if weights.shape != tensor.shape:
                raise ValueError(f"{tensor.name} has shape {weights.shape}, not {tensor.shape}")
            file.write(_encode(np.ascontiguousarray(weights, "<f4"), precision))


def _encode(weights: NDArray[np.float32], precision: Precision) -> bytes:
    if precision is Precision.F32:
        return weights.tobytes()
    # Round to nearest, ties to even, as torch does; finite numbers only, which the reader has made sure of.
    bits = weights.view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()
