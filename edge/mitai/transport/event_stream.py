"""Server-sent events: hold back the end of a stream until it is proven, and read events from it.

Spec: `docs/spec/client.md` §4, rule 4; the format is that of the WHATWG HTML standard, §9.2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE: Final = "text/event-stream"
DONE: Final = "[DONE]"
_DONE_LINE: Final = re.compile(rb"(?:^|(?<=[\r\n]))data: ?\[DONE\]")
_PREFIXES: Final = tuple(
    sorted(
        {line[:size] for line in (b"data: [DONE]", b"data:[DONE]") for size in range(1, len(line))},
        key=len,
        reverse=True,
    )
)
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_LINE_ENDS: Final = (b"\n", b"\r")


class DoneHoldBack:
    """Withholds ``data: [DONE]`` and all that follows it, because readers stop reading there.

    for piece in stream:
        pass_on(hold_back.push(piece))
    verify()
    pass_on(hold_back.rest())
    """

    __slots__ = ("_found", "_held", "_line_start")

    def __init__(self) -> None:
        self._held = bytearray()  # grows in place: what is withheld may be long and come in small pieces
        self._found = False
        self._line_start = True

    def push(self, piece: bytes) -> bytes:
        """Take the next piece of content and return what may be passed on now."""
        if self._found:
            self._held += piece
            return b""
        data = bytes(self._held) + piece if self._held else piece
        split = self._split(data)
        self._held[:] = data[split:]
        if split:
            self._line_start = data[split - 1 : split] in _LINE_ENDS
        return data[:split]

    def rest(self) -> bytes:
        """Return what was withheld: the stream is complete."""
        held, self._held = self._held, bytearray()
        return bytes(held)

    def _split(self, data: bytes) -> int:
        """Return how many bytes of `data` may go, and note whether the end was found."""
        if b"[DONE]" in data:
            for match in _DONE_LINE.finditer(data):
                if match.start() or self._line_start:
                    self._found = True
                    return match.start()
        if data.endswith(_LINE_ENDS):
            return len(data)
        for prefix in _PREFIXES:
            start = len(data) - len(prefix)
            if data.endswith(prefix) and (data[start - 1 : start] in _LINE_ENDS if start else self._line_start):
                return start
        return len(data)


class FillingRemover:
    """Takes the comment line away that fills a frame (`docs/spec/sizes.md` §2), so that readers need not skip it."""

    __slots__ = ("_line_start",)

    def __init__(self) -> None:
        self._line_start = True

    def remove(self, frame: bytes) -> bytes:
        """Return what a frame holds besides its filling, which may be nothing."""
        line_start, self._line_start = self._line_start, frame.endswith(b"\n")
        start = frame.rfind(b"\n", 0, -1) + 1
        if self._line_start and (start or line_start) and frame[start : start + 1] == b":":
            return frame if frame[start + 1 : -1].strip(b" ") else frame[:start]
        return frame


class EventReader:
    """Reads the data of events from bytes in any split."""

    def __init__(self) -> None:
        self._line = bytearray()  # grows in place: a line may be long and come in small pieces
        self._data: list[str] = []
        self._after_return = False

    def feed(self, piece: bytes) -> Iterator[str]:
        """Take the next bytes and yield the data of each event that they complete."""
        if not piece:
            return
        after_return, self._after_return = self._after_return, piece.endswith(b"\r")
        if after_return:
            piece = piece.removeprefix(b"\n")
        first, *others = _LINE_END.split(piece)
        self._line += first
        if not others:
            return
        lines = (bytes(self._line), *others[:-1])
        self._line[:] = others[-1]
        for line in lines:
            if not line:
                if self._data:
                    yield "\n".join(self._data)
                    self._data.clear()
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" ").decode("utf-8", "replace"))
