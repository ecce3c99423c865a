"""What stands in a GGUF file? Its fields and tensors, strictly read and unchanged.

Format: GGUF version 3, little-endian (ggml, `docs/gguf.md`). Of the tensor types only those are read that the
pinned model uses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from mitai.models.blocks import BlockType, dequantise
from mitai.models.cursor import Cursor
from mitai.models.errors import ModelDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

Scalar: TypeAlias = bool | int | float | str
FieldValue: TypeAlias = Scalar | list[Scalar]
T = TypeVar("T", bound=Scalar)

_MAGIC: Final = b"GGUF"
_VERSION: Final = 3
_MAX_AXES: Final = 4
_MAX_ENTRIES: Final = 1 << 20  # fields, tensors, or elements of an array: far more than any model's vocabulary
_ALIGNMENT: Final = 32
_NUMBERS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT: Final = 8
_ARRAY: Final = 9
_TENSOR_TYPES: Final = {0: BlockType.F32, 3: BlockType.Q4_1, 8: BlockType.Q8_0}


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as stored.

    Attributes:
        name: llama.cpp's name.
        shape: Outermost axis first, the last one contiguous (the file has them the other way round).
        stored: How the weights are stored.
        data: The stored bytes.
    """

    name: str
    shape: tuple[int, ...]
    stored: BlockType
    data: memoryview = field(repr=False)

    def weights(self) -> NDArray[np.float32]:
        """Return the weights as float32."""
        return dequantise(self.stored, self.data, self.shape)


@dataclass(frozen=True)
class GgufFile:
    """The fields and tensors of a file, by name."""

    fields: Mapping[str, FieldValue] = field(repr=False)
    tensors: tuple[GgufTensor, ...] = field(repr=False)

    def one(self, key: str, kind: type[T]) -> T:
        """Return the field `key`, which must be of exactly this type.

        Raises:
            ModelDataError: It is missing or of another type.
        """
        value = self.fields.get(key)
        if type(value) is not kind:
            raise ModelDataError(f"the GGUF file has no field {key!r} of type {kind.__name__}")
        return value

    def many(self, key: str, kind: type[T]) -> list[T]:
        """Return the array `key`, whose elements must be of exactly this type.

        Raises:
            ModelDataError: It is missing or of another type.
        """
        value = self.fields.get(key)
        if not isinstance(value, list):
            raise ModelDataError(f"the GGUF file has no array {key!r}")
        elements: list[T] = [element for element in value if type(element) is kind]
        if len(elements) != len(value):
            raise ModelDataError(f"an element of the GGUF array {key!r} is not of type {kind.__name__}")
        return elements


def parse_gguf(data: bytes) -> GgufFile:
    """Parse a whole GGUF file.

    Raises:
        ModelDataError: The bytes are not such a file, or hold a type, size or name outside our rules.
    """
    cursor = Cursor(memoryview(data))
    if bytes(cursor.take(4)) != _MAGIC or cursor.integer("I") != _VERSION:
        raise ModelDataError("the file is not GGUF version 3")
    tensor_count, field_count = (_bounded(cursor.integer("Q")) for _ in range(2))
    fields: dict[str, FieldValue] = {}
    for _ in range(field_count):
        key = cursor.text(cursor.integer("Q"))
        if key in fields:
            raise ModelDataError(f"the GGUF field {key!r} occurs twice")
        fields[key] = _value(cursor)
    if fields.get("general.alignment", _ALIGNMENT) != _ALIGNMENT:
        raise ModelDataError(f"the GGUF file is not aligned to {_ALIGNMENT} bytes")
    entries = [_entry(cursor) for _ in range(tensor_count)]
    if len({name for name, *_ in entries}) != tensor_count:
        raise ModelDataError("a GGUF tensor occurs twice")
    base = -(-cursor.position // _ALIGNMENT) * _ALIGNMENT
    tensors = tuple(
        GgufTensor(name, shape, stored, Cursor(cursor.data, base + offset).take(stored.bytes_for(shape)))
        for name, shape, stored, offset in entries
    )
    return GgufFile(fields, tensors)


def _bounded(count: int) -> int:
    if count > _MAX_ENTRIES:
        raise ModelDataError(f"the GGUF file announces {count} entries")
    return count


def _value(cursor: Cursor) -> FieldValue:
    kind = cursor.integer("I")
    if kind != _ARRAY:
        return _scalar(cursor, kind)
    element, count = cursor.integer("I"), _bounded(cursor.integer("Q"))
    return [_scalar(cursor, element) for _ in range(count)]


def _scalar(cursor: Cursor, kind: int) -> Scalar:
    if kind == _TEXT:
        return cursor.text(cursor.integer("Q"))
    if kind not in _NUMBERS:
        raise ModelDataError(f"the GGUF file has a value of the unknown type {kind}")
    return cursor.unpack(_NUMBERS[kind])[0]


def _entry(cursor: Cursor) -> tuple[str, tuple[int, ...], BlockType, int]:
    name = cursor.text(cursor.integer("Q"))
    axes = cursor.integer("I")
    if not 1 <= axes <= _MAX_AXES:
        raise ModelDataError(f"the GGUF tensor {name!r} has {axes} axes")
    shape = tuple(cursor.integer("Q") for _ in range(axes))[::-1]
    kind, offset = cursor.integer("I"), cursor.integer("Q")
    if kind not in _TENSOR_TYPES:
        raise ModelDataError(f"the GGUF tensor {name!r} is stored in the unknown type {kind}")
    if offset % _ALIGNMENT:
        raise ModelDataError(f"the GGUF tensor {name!r} is not aligned")
    return name, shape, _TENSOR_TYPES[kind], offset
