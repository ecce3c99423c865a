from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.transport.event_stream import DoneHoldBack, EventReader, FillingRemover
from mitai_enclave.frames import FrameWriter

STREAM = b'data: {"a":1}\n\n: comment\n\ndata: {"b":"\xe5\xaf\x86\xe6\x80\x81"}\n\ndata: [DONE]\n\n: padding\n\n'
BEFORE_DONE = STREAM.index(b"data: [DONE]")


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(bounds)]


@given(st.lists(st.integers(0, 1000), max_size=20))
def test_everything_before_done_goes_and_nothing_of_it(cuts: list[int]) -> None:
    hold_back = DoneHoldBack()
    released = b"".join(hold_back.push(piece) for piece in pieces(STREAM, cuts))
    assert released == STREAM[:BEFORE_DONE]
    assert hold_back.rest() == STREAM[BEFORE_DONE:]


def test_no_event_waits_for_the_next_one() -> None:
    hold_back = DoneHoldBack()
    for word in (b'data: {"x":"data: [DONE]"}\n\n', b'data: {"y":"d"}\n\n', b": comment\n\n", b"data: [DO"):
        passed = hold_back.push(word)
        assert passed == (b"" if word == b"data: [DO" else word)
    assert hold_back.push(b"G]\n\n") == b"data: [DOG]\n\n"


@pytest.mark.parametrize("line", [b"data: [DONE]\n\n", b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE]"])
def test_every_spelling_that_ends_a_stream_is_held(line: bytes) -> None:
    hold_back = DoneHoldBack()
    assert hold_back.push(b"data: 1\r\n\r\n" + line) == b"data: 1\r\n\r\n"
    assert hold_back.push(b"more") == b""
    assert hold_back.rest() == line + b"more"
    assert hold_back.rest() == b""


@given(st.binary(max_size=60), st.lists(st.integers(0, 1000), max_size=8))
def test_nothing_is_lost_or_reordered(data: bytes, cuts: list[int]) -> None:
    hold_back = DoneHoldBack()
    released = [hold_back.push(piece) for piece in (pieces(data, cuts) if data else [])]
    assert b"".join(released) + hold_back.rest() == data


@given(st.lists(st.integers(0, 1000), max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_come_out_in_any_split(cuts: list[int], line_end: bytes) -> None:
    data = STREAM.replace(b"\n", line_end)
    reader = EventReader()
    events = [event for piece in pieces(data, cuts) for event in reader.feed(piece)]
    assert events == ['{"a":1}', '{"b":"密态"}', "[DONE]"]


@pytest.mark.parametrize("step", [1, 2, 3, 100])
def test_a_line_feed_belongs_to_one_return_only(step: int) -> None:
    """Cut between CR, LF and LF, the second LF ends a line of its own: the blank one that ends the event."""
    data = b"data: one\r\n\ndata: two\r\n\r\n"
    reader = EventReader()
    events = [event for at in range(0, len(data), step) for event in reader.feed(data[at : at + step])]
    assert events == ["one", "two"]


def test_an_event_of_several_lines_is_joined() -> None:
    assert list(EventReader().feed(b"event: x\ndata: one\ndata:two\nid: 3\n\n")) == ["one\ntwo"]


def test_threat_20_a_long_line_in_small_pieces_costs_no_more_than_its_bytes() -> None:
    """Copying what is there with each piece would take half a minute; the bound is far from both."""
    reader, hold_back, piece = EventReader(), DoneHoldBack(), b"x" * 64
    began = time.process_time()
    for number in range(32_768):  # 2 MiB
        assert list(reader.feed(piece)) == []
        assert hold_back.push(piece if number else b"data: [DONE]" + piece) == b""
        assert time.process_time() - began < 5
    (event,) = reader.feed(b"\n\ndata: after\n\n")
    assert event == "after"
    assert len(hold_back.rest()) == 12 + 64 * 32_768


def test_an_event_without_its_blank_line_is_no_event() -> None:
    assert list(EventReader().feed(b"data: cut")) == []


@pytest.mark.parametrize(
    ("frames", "shown"),
    [
        ([b"data: 1\n\n:      \n"], [b"data: 1\n\n"]),
        ([b":     \n", b"data: 1\n:\n"], [b"", b"data: 1\n"]),
        ([b"data: 1\n\n", b": a comment of the engine\n"], [b"data: 1\n\n", b": a comment of the engine\n"]),
        ([b"data: a line that goes on", b":    \n", b":   \n"], [b"data: a line that goes on", b":    \n", b""]),
        ([b"data: 1\n\n\n"], [b"data: 1\n\n\n"]),
        ([b"", b"\n", b":\n"], [b"", b"\n", b""]),
    ],
)
def test_the_filling_of_frames_is_not_handed_on(frames: list[bytes], shown: list[bytes]) -> None:
    remover = FillingRemover()
    assert [remover.remove(frame) for frame in frames] == shown


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=900), max_size=8))
def test_what_an_enclave_fills_comes_out_as_it_was(lines: list[str]) -> None:
    stream = "".join(f"data: {line}\n\n" for line in lines).encode()
    writer, remover = FrameWriter(), FillingRemover()
    writer.take(stream)
    shown = b"".join(remover.remove(frame) for frame in writer.ready())
    assert list(EventReader().feed(shown)) == list(EventReader().feed(stream))
    assert len(shown) <= len(stream) + len(lines)
