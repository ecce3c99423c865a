from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto.errors import ChannelError, DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.labels import CHUNK_SIZE, MAX_CHUNK_CIPHERTEXT
from mitai_crypto.ohttp_chunks import FINAL_MARKER, ChunkReader, frame_chunk, split_plaintext
from mitai_crypto.varint import encode_varint


def read(stream: bytes, step: int) -> tuple[list[bytes], bytes]:
    reader = ChunkReader()
    chunks = [chunk for start in range(0, len(stream), step) for chunk in reader.feed(stream[start : start + step])]
    return chunks, reader.close()


@given(
    chunks=st.lists(st.binary(min_size=17, max_size=200), max_size=5),
    final=st.binary(min_size=16, max_size=100),
    step=st.integers(1, 300),
)
@settings(max_examples=100, deadline=None)
def test_the_split_of_the_stream_does_not_matter(chunks: list[bytes], final: bytes, step: int) -> None:
    stream = b"".join(map(frame_chunk, chunks)) + FINAL_MARKER + final
    assert read(stream, step) == (chunks, final)


@pytest.mark.parametrize("marker", ["00", "4000", "80000000", "c000000000000000"])
def test_the_final_marker_may_be_written_in_any_length(marker: str) -> None:
    assert read(bytes.fromhex(marker) + b"t" * 16, 1) == ([], b"t" * 16)


def test_the_largest_chunk_is_accepted() -> None:
    chunk = b"c" * MAX_CHUNK_CIPHERTEXT
    assert read(frame_chunk(chunk) + FINAL_MARKER + chunk, 5000) == ([chunk], chunk)


def test_threat_20_a_length_over_the_cap_is_refused_before_its_bytes_arrive() -> None:
    for length in (MAX_CHUNK_CIPHERTEXT + 1, 64 * 1024 * 1024, 2**62 - 1):
        with pytest.raises(MessageTooLarge):
            list(ChunkReader().feed(encode_varint(length)))


def test_threat_20_the_final_chunk_is_not_collected_without_end() -> None:
    reader = ChunkReader()
    list(reader.feed(FINAL_MARKER + b"c" * MAX_CHUNK_CIPHERTEXT))
    with pytest.raises(MessageTooLarge):
        list(reader.feed(b"c"))


def test_threat_20_a_reader_holds_one_chunk_at_most() -> None:
    reader = ChunkReader()
    chunk = frame_chunk(b"c" * MAX_CHUNK_CIPHERTEXT)
    half = len(chunk) // 2
    tracemalloc.start()
    for _ in range(50):
        list(reader.feed(chunk[:half]))
        list(reader.feed(chunk[half:]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_CHUNK_CIPHERTEXT


@pytest.mark.parametrize("length", [1, 15, 16])
def test_a_non_final_chunk_that_seals_nothing_is_refused(length: int) -> None:
    with pytest.raises(DecapsulationError):
        list(ChunkReader().feed(encode_varint(length)))


@pytest.mark.parametrize("stream", [b"", b"\x40", b"\x20" + b"c" * 31, FINAL_MARKER, FINAL_MARKER + b"t" * 15])
def test_a_stream_that_stops_early_is_truncated(stream: bytes) -> None:
    with pytest.raises(TruncatedMessage):
        read(stream, 7)


@given(stream=st.binary(max_size=200), step=st.integers(1, 50))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_errors(stream: bytes, step: int) -> None:
    try:
        chunks, final = read(stream, step)
    except ChannelError:
        return
    assert all(len(chunk) > 16 for chunk in chunks)
    assert len(final) >= 16


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(0, [0]), (1, [1]), (CHUNK_SIZE, [CHUNK_SIZE]), (CHUNK_SIZE + 1, [CHUNK_SIZE, 1])],
)
def test_plaintext_is_cut_so_that_only_the_last_piece_can_be_short(size: int, pieces: list[int]) -> None:
    cut = list(split_plaintext(b"p" * size))
    assert [len(piece) for piece in cut] == pieces
    assert b"".join(cut) == b"p" * size
