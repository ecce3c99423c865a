from __future__ import annotations

import tracemalloc
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto.bhttp import Content, Event, Head, ResponseDecoder, ResponseEncoder, Trailers
from mitai_crypto.errors import BhttpError
from support.bhttp_failures import lines, response, stream

DATE = ((b"date", b"today"),)
RECEIPT = ((b"mitai-receipt", b"r"),)
KNOWN = response(lines(*DATE), b"hello", lines(*RECEIPT))
STREAMED = stream(lines(*DATE), b"he", b"llo", trailers=lines(*RECEIPT))


def decode(data: bytes, step: int) -> list[Event]:
    decoder = ResponseDecoder()
    events = [event for start in range(0, len(data), step) for event in decoder.feed(data[start : start + step])]
    return events + decoder.close()


@pytest.mark.parametrize("data", [KNOWN, STREAMED], ids=["known", "streamed"])
@pytest.mark.parametrize("step", [1, 2, 3, 5, 1000])
def test_one_head_then_content_then_trailers_whatever_the_split(data: bytes, step: int) -> None:
    head, *contents, trailers = decode(data + bytes(20), step)
    assert head == Head(200, DATE)
    assert trailers == Trailers(RECEIPT)
    assert b"".join(event.data for event in contents if isinstance(event, Content)) == b"hello"
    assert all(isinstance(event, Content) and event.data for event in contents)


def test_content_comes_out_before_its_chunk_is_whole() -> None:
    decoder = ResponseDecoder()
    decoder.feed(b"\x03\x40\xc8\x00")
    assert decoder.feed(b"\x05he") == [Content(b"he")]
    assert decoder.feed(b"l") == [Content(b"l")]
    assert decoder.feed(b"lo\x00") == [Content(b"lo")]
    assert decoder.feed(b"\x00") == [Trailers(())]
    assert decoder.close() == []


@pytest.mark.parametrize(
    ("data", "content"),
    [
        ("0140c8", b""),
        ("0140c800", b""),
        ("0140c80000", b""),
        ("0140c8000161", b"a"),
        ("0340c8", b""),
        ("0340c800", b""),
        ("0340c80000", b""),
        ("0340c800016100", b"a"),
        ("0140660040c8", b""),
    ],
)
def test_omitted_trailing_parts_are_empty(data: str, content: bytes) -> None:
    head, *contents, trailers = decode(bytes.fromhex(data), 1)
    assert (head, trailers) == (Head(200, ()), Trailers(()))
    assert b"".join(event.data for event in contents if isinstance(event, Content)) == content


@given(
    pieces=st.lists(st.binary(max_size=50), max_size=6),
    step=st.integers(1, 100),
    padding=st.integers(0, 50),
)
@settings(max_examples=100, deadline=None)
def test_decoding_what_was_encoded(pieces: list[bytes], step: int, padding: int) -> None:
    encoder = ResponseEncoder()
    data = encoder.head(200, DATE) + b"".join(map(encoder.content, pieces)) + encoder.end(RECEIPT, padding=padding)
    events = decode(data, step)
    assert events[0] == Head(200, DATE)
    assert events[-1] == Trailers(RECEIPT)
    assert b"".join(event.data for event in events if isinstance(event, Content)) == b"".join(pieces)


@given(
    data=st.binary(max_size=80),
    prefix=st.sampled_from([b"", KNOWN[:6], STREAMED[:14], STREAMED]),
    step=st.integers(1, 30),
)
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_only_our_error_in_every_split(data: bytes, prefix: bytes, step: int) -> None:
    def outcome(step: int) -> tuple[bytes, bool]:
        decoder = ResponseDecoder()
        whole = prefix + data
        out = b""
        try:
            for start in range(0, len(whole), step):
                events = decoder.feed(whole[start : start + step])
                out += b"".join(event.data for event in events if isinstance(event, Content))
            decoder.close()
        except BhttpError:
            return out, False
        return out, True

    assert outcome(step) == outcome(1000)


def test_what_precedes_an_error_comes_out_first_and_the_error_stays() -> None:
    decoder = ResponseDecoder()
    bad = stream(b"", b"hello", trailers=lines((b"te", b"x")))
    assert decoder.feed(bad) == [Head(200, ()), Content(b"hello")]
    for _ in range(2):
        with pytest.raises(BhttpError, match="te belongs"):
            decoder.feed(b"")
    with pytest.raises(BhttpError, match="te belongs"):
        decoder.close()


def test_threat_09_a_response_that_stops_early_is_an_error() -> None:
    for data in (KNOWN, STREAMED):
        whole = decode(data, 1000)
        for cut in range(len(data)):
            decoder = ResponseDecoder()
            try:
                events = decoder.feed(data[:cut]) + decoder.close()
            except BhttpError:
                continue
            contents = b"".join(event.data for event in events if isinstance(event, Content))
            # A part that was cut off where it begins looks like one that was left out (RFC 9292 §3.8): whole
            # parts can be lost, never a part of one. That even this shows is the sealed message's business.
            assert events[-1] == Trailers(())
            assert contents in {b"", b"hello"}
            assert whole[-1] == Trailers(RECEIPT)


def test_threat_20_long_content_is_not_collected() -> None:
    decoder = ResponseDecoder()
    decoder.feed(b"\x01\x40\xc8\x00\x9f\xff\xff\xff")
    piece = b"p" * 10_000
    tracemalloc.start()
    for _ in range(100):
        decoder.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_threat_20_long_padding_is_not_collected() -> None:
    decoder = ResponseDecoder()
    decoder.feed(KNOWN)
    for _ in range(10):
        assert decoder.feed(bytes(10_000)) == []
    assert decoder._buffer == b""


def test_a_declared_length_is_checked_on_both_sides() -> None:
    encoder = ResponseEncoder()
    encoder.head(200, ((b"content-length", b"3"),))
    encoder.content(b"ab")
    with pytest.raises(BhttpError, match="disagrees"):
        encoder.end()
    decoder = ResponseDecoder()
    decoder.feed(stream(lines((b"content-length", b"3")), b"ab")[:-2])
    with pytest.raises(BhttpError, match="disagrees"):
        decoder.feed(b"\x02cd")


def test_an_empty_write_does_not_end_the_content() -> None:
    encoder = ResponseEncoder()
    encoder.head(200, ())
    assert encoder.content(b"") == b""
    assert encoder.content(b"a") == b"\x01a"


def test_the_order_of_calls_is_kept() -> None:
    encoder = ResponseEncoder()
    for attempt in (partial(encoder.content, b"a"), encoder.end):
        with pytest.raises(BhttpError, match="one head"):
            attempt()
    encoder.head(200, ())
    with pytest.raises(BhttpError, match="one head"):
        encoder.head(200, ())
    encoder.end()
    for attempt in (partial(encoder.content, b"a"), encoder.end, partial(encoder.head, 200, ())):
        with pytest.raises(BhttpError, match="one head"):
            attempt()


def test_the_encoder_refuses_what_a_decoder_would() -> None:
    encoder = ResponseEncoder()
    with pytest.raises(BhttpError):
        encoder.head(199, ())
    with pytest.raises(BhttpError):
        encoder.head(200, ((b"Date", b"today"),))
    encoder.head(200, ())
    with pytest.raises(BhttpError):
        encoder.end(((b"content-length", b"0"),))


def test_a_response_is_read_once() -> None:
    decoder = ResponseDecoder()
    decoder.feed(KNOWN)
    decoder.close()
    with pytest.raises(BhttpError, match="read to its end"):
        decoder.feed(b"")
    with pytest.raises(BhttpError, match="read to its end"):
        decoder.close()


def test_a_repr_shows_no_content() -> None:
    events = [Head(200, ((b"a", b"CANARY"),)), Content(b"CANARY"), Trailers(((b"a", b"CANARY"),))]
    assert repr(events) == "[<Head 200 [a]>, <Content 6 bytes>, <Trailers [a]>]"
