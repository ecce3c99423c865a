"""Reads the parts of a Binary HTTP message one after the other (RFC 9292 §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTROL_BYTES, MAX_SECTION_BYTES, MAX_SECTION_LINES
from mitai_crypto.varint import read_varint

if TYPE_CHECKING:
    from mitai_crypto.bhttp_fields import Field


class Incomplete(BhttpError):
    """The bytes end inside a part; with more of them it might be valid."""

    def __init__(self) -> None:
        super().__init__("the Binary HTTP message is cut short")


class Cursor:
    """A place in the bytes of a message.

    Attributes:
        position: The offset of the next unread byte.
        complete: Whether no more bytes can follow, so that omitted trailing parts are known to be empty.
    """

    __slots__ = ("_data", "complete", "position")

    def __init__(self, data: bytes, *, complete: bool) -> None:
        self._data = data
        self.position = 0
        self.complete = complete

    @property
    def available(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self.position

    @property
    def is_omitted(self) -> bool:
        """Whether the part that would begin here was left out (RFC 9292 §3.8)."""
        return self.complete and self.position == len(self._data)

    def varint(self) -> int:
        """Read an integer.

        Raises:
            Incomplete: If it is not all there.
        """
        read = read_varint(self._data, self.position)
        if read is None:
            raise Incomplete
        value, self.position = read
        return value

    def take(self, length: int) -> bytes:
        """Read exactly `length` bytes.

        Raises:
            Incomplete: If they are not all there.
        """
        end = self.position + length
        if end > len(self._data):
            raise Incomplete
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def string(self, cap: int = MAX_CONTROL_BYTES) -> bytes:
        """Read a length and that many bytes; a length over `cap` is refused before any of them is awaited.

        Raises:
            BhttpError: If the length is over the cap.
            Incomplete: If the bytes are not all there.
        """
        length = self.varint()
        if length > cap:
            raise BhttpError(f"a part of the message is over {cap} bytes")
        return self.take(length)

    def section(self, *, known_length: bool) -> tuple[Field, ...]:
        """Read a header or trailer section, without judging its fields.

        Raises:
            BhttpError: If it is malformed or over its caps.
            Incomplete: If it is not all there.
        """
        if self.is_omitted:
            return ()
        return self._known_section() if known_length else self._terminated_section()

    def rest(self) -> bytes:
        """Read everything that is left."""
        return self.take(self.available)

    def _known_section(self) -> tuple[Field, ...]:
        section = self.string(MAX_SECTION_BYTES)
        fields: list[Field] = []
        position = 0
        while position < len(section):
            name, position = _part_of(section, position)
            value, position = _part_of(section, position)
            if not name:
                raise BhttpError("a field name is empty or too long")
            fields.append((name, value))
        return tuple(fields)

    def _terminated_section(self) -> tuple[Field, ...]:
        fields: list[Field] = []
        start = self.position
        while name_length := self.varint():
            fields.append(self._line(name_length))
            if len(fields) > MAX_SECTION_LINES or self.position - start > MAX_SECTION_BYTES:
                raise BhttpError("a field section is over its caps")
        return tuple(fields)

    def _line(self, name_length: int) -> Field:
        if not 0 < name_length <= MAX_SECTION_BYTES:
            raise BhttpError("a field name is empty or too long")
        return self.take(name_length), self.string(MAX_SECTION_BYTES)


def _part_of(section: bytes, position: int) -> tuple[bytes, int]:
    """Read a name or a value of a section that is all there, and return it with the offset behind it."""
    read = read_varint(section, position)
    if read is not None:
        length, start = read
        end = start + length
        if end <= len(section):
            return section[start:end], end
    # More bytes would not help: the section's length is given.
    raise BhttpError("a field line runs over the end of its section")
