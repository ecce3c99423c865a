"""Binary HTTP responses that stream: written piece by piece, read in whatever split they arrive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, TypeAlias

from mitai_crypto.bhttp_cursor import Cursor, Incomplete
from mitai_crypto.bhttp_fields import (
    Field,
    check_fields,
    check_status,
    declared_length,
    encode_lines,
    encode_string,
    field_names,
)
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_INFORMATIONAL
from mitai_crypto.varint import encode_varint

_KNOWN: Final = 1
_INDETERMINATE: Final = 3
_INFORMATIONAL: Final = range(100, 200)
_SWITCHING_PROTOCOLS: Final = 101


@dataclass(frozen=True, slots=True, repr=False)
class Head:
    """Status and headers of the final response; always the first event."""

    status: int
    headers: tuple[Field, ...]

    def __repr__(self) -> str:
        return f"<Head {self.status} [{field_names(self.headers)}]>"


@dataclass(frozen=True, slots=True, repr=False)
class Content:
    """The next piece of the content, never empty."""

    data: bytes

    def __repr__(self) -> str:
        return f"<Content {len(self.data)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Trailers:
    """The trailer section, also where it is empty; always the last event."""

    fields: tuple[Field, ...]

    def __repr__(self) -> str:
        return f"<Trailers [{field_names(self.fields)}]>"


Event: TypeAlias = Head | Content | Trailers


class ResponseEncoder:
    """Writes one response of unknown length: `head`, `content` any number of times, `end`."""

    __slots__ = ("_declared", "_sent", "_state")
    _FRESH, _OPEN, _ENDED = range(3)

    def __init__(self) -> None:
        self._state = self._FRESH
        self._declared: int | None = None
        self._sent = 0

    def head(self, status: int, headers: tuple[Field, ...]) -> bytes:
        """Return the beginning of the response.

        Raises:
            BhttpError: If status or fields are not allowed, or the response has begun.
        """
        self._expect(self._FRESH)
        check_status(status)
        check_fields(headers)
        self._declared = declared_length(headers)
        self._state = self._OPEN
        return bytes([_INDETERMINATE]) + encode_varint(status) + encode_lines(headers) + b"\x00"

    def content(self, data: bytes) -> bytes:
        """Return `data` as one chunk of content; nothing for nothing, as an empty chunk is the end.

        Raises:
            BhttpError: If the response has not begun or has ended.
        """
        self._expect(self._OPEN)
        self._sent += len(data)
        return encode_string(data) if data else b""

    def end(self, trailers: tuple[Field, ...] = (), *, padding: int = 0) -> bytes:
        """Return the end of the response, followed by `padding` zero bytes.

        Raises:
            BhttpError: If a trailer is not allowed, `content-length` disagrees with what was sent, or the
                response is not open.
        """
        self._expect(self._OPEN)
        check_fields(trailers, trailers=True)
        if self._declared is not None and self._declared != self._sent:
            raise BhttpError("content-length disagrees with the content")
        self._state = self._ENDED
        return b"\x00" + encode_lines(trailers) + bytes(1 + padding)

    def _expect(self, state: int) -> None:
        if self._state != state:
            raise BhttpError("a response has one head, content, and one end")


class _Part(Enum):
    HEAD = auto()
    LENGTH = auto()  # of the whole content, or of its next chunk
    CONTENT = auto()
    TRAILERS = auto()
    PADDING = auto()


class ResponseDecoder:
    """Reads one response in either framing from bytes in any split (`docs/spec/bhttp.md` §4)."""

    __slots__ = ("_buffer", "_declared", "_failure", "_known", "_part", "_received", "_remaining")

    def __init__(self) -> None:
        self._buffer = b""
        self._part = _Part.HEAD
        self._known = True
        self._declared: int | None = None
        self._received = 0
        self._remaining = 0
        self._failure: BhttpError | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Take the next bytes and return what they complete.

        Raises:
            BhttpError: If the response is malformed or breaks a rule. What came before is returned first, and
                the error comes with the next call, however the bytes were split; then every call fails.
        """
        events = self._advance(data, complete=False)
        if self._failure is not None and not events:
            raise self._failure
        return events

    def close(self) -> list[Event]:
        """Return what the end of the bytes completes: the response has ended.

        Raises:
            BhttpError: If it may not end here.
        """
        events = self._advance(b"", complete=True)
        if self._failure is not None:
            raise self._failure
        self._failure = BhttpError("the response has been read to its end")
        return events

    def _advance(self, data: bytes, *, complete: bool) -> list[Event]:
        """Read as many parts as there are; what stops the reading for good is left in `_failure`."""
        if self._failure is not None:
            raise self._failure
        cursor = Cursor(self._buffer + data if self._buffer else data, complete=complete)
        events: list[Event] = []
        mark = 0
        try:
            while self._part is not _Part.PADDING:
                mark = cursor.position
                if not (cursor.available or complete):
                    break
                event = self._step(cursor)
                if event is not None:
                    events.append(event)
            else:
                self._skip_padding(cursor)
        except Incomplete as error:
            if complete:
                self._failure = BhttpError(str(error))
            cursor.position = mark  # this part is read again when there is more
        except BhttpError as failure:
            self._failure = failure
        self._buffer = cursor.rest()
        return events

    def _step(self, cursor: Cursor) -> Event | None:
        """Read the next part, and say in `_part` which one follows."""
        if self._part is _Part.CONTENT:
            return self._read_content(cursor)
        if self._part is _Part.HEAD:
            return self._read_head(cursor)
        if self._part is _Part.TRAILERS:
            return self._read_trailers(cursor)
        self._read_length(cursor)
        return None

    def _read_head(self, cursor: Cursor) -> Head:
        framing = cursor.varint()
        if framing not in {_KNOWN, _INDETERMINATE}:
            raise BhttpError("not a Binary HTTP response")
        known = framing == _KNOWN
        status = cursor.varint()
        dropped = 0
        while status in _INFORMATIONAL:
            dropped += 1
            if status == _SWITCHING_PROTOCOLS or dropped > MAX_INFORMATIONAL:
                raise BhttpError("a response to switch protocols, or too many informational ones")
            check_fields(cursor.section(known_length=known))
            status = cursor.varint()
        check_status(status)
        headers = cursor.section(known_length=known)
        check_fields(headers)
        self._declared = declared_length(headers)
        self._known = known
        self._part = _Part.LENGTH
        return Head(status, headers)

    def _skip_padding(self, cursor: Cursor) -> None:
        if cursor.rest().strip(b"\x00"):
            raise BhttpError("the padding is not all zero")

    def _read_length(self, cursor: Cursor) -> None:
        omitted = cursor.is_omitted and (self._known or not self._received)
        self._remaining = 0 if omitted else cursor.varint()
        if self._declared is not None and self._received + self._remaining > self._declared:
            raise BhttpError("content-length disagrees with the content")
        self._part = _Part.CONTENT if self._remaining else _Part.TRAILERS

    def _read_content(self, cursor: Cursor) -> Content:
        size = min(self._remaining, cursor.available)
        if not size:
            raise Incomplete
        self._remaining -= size
        self._received += size
        if not self._remaining:
            self._part = _Part.TRAILERS if self._known else _Part.LENGTH
        return Content(cursor.take(size))

    def _read_trailers(self, cursor: Cursor) -> Trailers:
        if self._declared is not None and self._received != self._declared:
            raise BhttpError("content-length disagrees with the content")
        fields = cursor.section(known_length=self._known)
        check_fields(fields, trailers=True)
        self._part = _Part.PADDING
        return Trailers(fields)
