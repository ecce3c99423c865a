"""How does a stream of server-sent events become pieces of one length? (`docs/spec/sizes.md` §2).

No IO and no clock here: bytes of the engine come in, full frames out.
"""

from __future__ import annotations

from typing import Final

from mitai_crypto.labels import FRAME_CONTENT_BYTES

_LINE_END: Final = b"\n"
_RETURN_LINE_END: Final = b"\r\n"
_COMPACT_BYTES: Final = 64 * 1024  # what has gone out is dropped so often, not with each frame
_EVENT_END: Final = b"\n\n"


class FrameWriter:
    """Fills frames with lines of events, and with comment lines where there are none.

    for data in engine:
        frames.take(data)
        send(frames.ready())
    frames.end()
    send(frames.ready())
    """

    __slots__ = ("_lines", "_sent", "_unfinished")

    def __init__(self) -> None:
        self._lines = bytearray()  # whole lines, the first of which may have been begun by an earlier frame
        self._sent = 0  # how much of them has gone out
        self._unfinished = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether every line that ended has gone out."""
        return self._sent == len(self._lines)

    @property
    def waiting(self) -> int:
        """How many bytes were taken and have not gone out."""
        return len(self._lines) - self._sent + len(self._unfinished)

    def take(self, data: bytes) -> None:
        """Take bytes of the stream; a line that has not ended is held."""
        stop = data.rfind(_LINE_END) + 1
        if stop:
            self._lines += self._unfinished + data[:stop]
            self._unfinished.clear()
        self._unfinished += data[stop:]

    def end(self) -> None:
        """Take the end of the stream: a line that never ended is ended, which ends no event."""
        if self._unfinished:
            self.take(_LINE_END)

    def ready(self) -> list[bytes]:
        """Return every line that ended, in frames, the last of them filled up."""
        frames = []
        while not self.is_empty:
            frames.append(self.tick())
        return frames

    def tick(self) -> bytes:
        """Return exactly one frame: of lines that ended, or of a comment where there are none."""
        piece = bytes(self._lines[self._sent : self._sent + FRAME_CONTENT_BYTES])
        self._sent += len(piece)
        if self.is_empty or self._sent > _COMPACT_BYTES:
            del self._lines[: self._sent]
            self._sent = 0
        # Where a piece is short a comment may start: it ends a line, or there is none.
        return piece if len(piece) == FRAME_CONTENT_BYTES else fill(piece)


def fill(lines: bytes) -> bytes:
    """Return `lines`, which end a line or are empty, in one frame that means the same to a reader of events."""
    gap = FRAME_CONTENT_BYTES - len(lines)
    if gap == 1 and not lines.endswith(_EVENT_END):
        if not lines.endswith(_RETURN_LINE_END):
            return lines[:-1] + _RETURN_LINE_END  # the other way to end a line is a byte longer
        lines, gap = lines[:-2] + _LINE_END, 2
    # After an event's end an empty line means nothing; a comment takes two bytes at least.
    return lines + (b":" + b" " * (gap - 2) + _LINE_END if gap > 1 else _LINE_END * gap)
