"""Server-sent events, as the device reads an answer."""

from __future__ import annotations

from target import Target, pieces, streamed

from mitai.transport.event_stream import DoneHoldBack, EventReader


class Never(Exception):
    """Nothing raises it: whatever a stranger sends causes no error at all."""


def read(data: bytes) -> None:
    """Read events in pieces and in one, and hold the end back: no byte is lost."""
    cut, whole, hold_back = EventReader(), EventReader(), DoneHoldBack()
    events: list[str] = []
    passed = bytearray()
    for piece in pieces(data):
        events += cut.feed(piece)
        passed += hold_back.push(piece)
    assert events == list(whole.feed(data[1:]))
    assert passed + hold_back.rest() == data[1:]


def seeds() -> list[bytes]:
    """Return streams with all line ends, comments and an end."""
    return streamed(
        [
            'data: {"choices":[{"delta":{"content":"密态"}}]}\n\ndata: [DONE]\n\n'.encode(),
            b"data: a\r\ndata: b\r\n\r\n: filling\rdata:c\r\r",
            b"event: x\nid: 1\n\ndata: [DON",
        ]
    )


TARGET = Target(read, Never, seeds, factor=64, max_bytes=8192)
