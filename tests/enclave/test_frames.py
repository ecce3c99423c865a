from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from mitai.transport.event_stream import EventReader
from mitai_crypto.labels import FRAME_CONTENT_BYTES
from mitai_enclave.frames import FrameWriter, fill

SIZE = FRAME_CONTENT_BYTES
TEXTS = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=700)
ENDS = st.sampled_from(["\n", "\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """An event stream with comments, events of several lines, either line end, and perhaps an unfinished event."""
    lines = [
        draw(st.sampled_from(["data: ", "data:", ": ", "event: ", ""])) + draw(TEXTS) + draw(ENDS)
        if draw(st.booleans())
        else draw(ENDS)
        for _ in range(draw(st.integers(0, 12)))
    ]
    return "".join(lines).encode() + draw(st.binary(max_size=30))


def events(data: bytes) -> list[str]:
    return list(EventReader().feed(data))


def openai_events(data: bytes) -> list[str]:
    return [event.data for event in SSEDecoder().iter_bytes(iter([data])) if event.data]


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


@given(streams(), st.lists(st.integers(0, 5000), max_size=8))
def test_threat_17_any_stream_becomes_full_frames_with_the_same_events(data: bytes, cuts: list[int]) -> None:
    writer, frames = FrameWriter(), list[bytes]()
    for piece in split(data, cuts):
        writer.take(piece)
        frames += writer.ready()
    writer.end()
    frames += writer.ready()
    assert {len(frame) for frame in frames} <= {SIZE}
    assert events(b"".join(frames)) == events(data)
    assert writer.waiting == 0


@given(streams(), st.lists(st.integers(0, 5000), max_size=8), st.integers(1, 5))
def test_ticks_between_the_pieces_change_no_event(data: bytes, cuts: list[int], ticks: int) -> None:
    writer, frames = FrameWriter(), list[bytes]()
    for piece in split(data, cuts):
        writer.take(piece)
        frames += [writer.tick() for _ in range(ticks)]
    writer.end()
    frames += writer.ready()
    assert {len(frame) for frame in frames} <= {SIZE}
    assert events(b"".join(frames)) == events(data)


@given(st.lists(TEXTS.filter(lambda text: "\x0b" not in text), min_size=1, max_size=6))
def test_the_openai_client_reads_the_same_events(texts: list[str]) -> None:
    plain = "".join(f"data: {text}\n\n" for text in texts).encode()
    writer = FrameWriter()
    writer.take(plain)
    assert openai_events(b"".join(writer.ready())) == openai_events(plain)


@pytest.mark.parametrize("end", ["\n", "\n\n", "\r\n", "\r\n\r\n"])
@pytest.mark.parametrize("gap", [0, 1, 2, 3])
def test_the_smallest_gaps_end_no_event_and_lose_none(end: str, gap: int) -> None:
    line = b"data: " + b"x" * (SIZE - gap - 6 - len(end)) + end.encode()
    frame = fill(line)
    assert len(frame) == SIZE
    rest = b"data: y\n\n"
    assert events(frame + rest) == events(line + rest)


def test_nothing_is_sent_of_a_line_that_has_not_ended() -> None:
    writer = FrameWriter()
    writer.take(b"data: " + b"x" * 2000)
    assert writer.ready() == []
    writer.take(b"\n")
    assert len(writer.ready()) == 5


def test_a_large_backlog_goes_out_as_it_came() -> None:
    stream = b"".join(b"data: %d\n\n" % number for number in range(200_000))
    writer = FrameWriter()
    writer.take(stream)
    frames = writer.ready()
    assert b"".join(frames)[: len(stream)] == stream
    assert writer.waiting == 0
