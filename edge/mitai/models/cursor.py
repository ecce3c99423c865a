"""Read little-endian numbers and byte runs, one after the other, from bytes that are not trusted."""

from __future__ import annotations

import struct

from mitai.models.errors import ModelDataError


class Cursor:
    """A position in a buffer that can only move forward and never past the end.

    Every method raises `ModelDataError` where the buffer ends too early.
    """

    def __init__(self, data: memoryview, position: int = 0) -> None:
        self.data = data
        self.position = position

    def take(self, count: int) -> memoryview:
        """Return the next `count` bytes without copying them."""
        if count < 0 or count > len(self.data) - self.position:
            raise ModelDataError(f"the file ends inside a value at byte {self.position}")
        start, self.position = self.position, self.position + count
        return self.data[start : self.position]

    def unpack(self, layout: str) -> tuple[int | float | bool, ...]:
        """Return the values of a `struct` layout of numbers, little-endian and without padding."""
        form = struct.Struct("<" + layout)
        return form.unpack(self.take(form.size))

    def integer(self, layout: str) -> int:
        """Return one integer of the `struct` type `layout`."""
        return int(self.unpack(layout)[0])

    def text(self, count: int) -> str:
        """Return the next `count` bytes as UTF-8."""
        start = self.position
        try:
            return str(self.take(count), "utf-8")
        except UnicodeDecodeError:
            raise ModelDataError(f"the text at byte {start} is not UTF-8") from None
