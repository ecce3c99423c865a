from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto import ohttp_response
from mitai_crypto.errors import ChannelError, DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.hpke import Aead, Kem
from mitai_crypto.labels import CHUNK_SIZE, FINAL_AAD, MAX_RESPONSE_BYTES, MAX_SEQUENCE
from mitai_crypto.ohttp import ResponseOpener, ResponseSealer, seal_request
from mitai_crypto.ohttp_chunks import frame_chunk
from support.sealed_exchange import FixedExchange, key_pair, open_request, split_frames

if TYPE_CHECKING:
    from collections.abc import Callable

KEYS = {kem: key_pair(kem) for kem in Kem}


def exchange(kem: Kem = Kem.MLKEM768_X25519, aead: Aead | None = None) -> tuple[ResponseOpener, ResponseSealer]:
    config, private_key = KEYS[kem]
    sealed = seal_request(config, b"question", aead=aead)
    return sealed.opener, open_request(sealed.message, config, private_key).sealer


def drain(opener: ResponseOpener, stream: bytes, step: int) -> tuple[bytes, type[ChannelError] | None]:
    """Return everything that came out, and the error that stopped it."""
    out = b""
    try:
        for start in range(0, len(stream), step):
            out += opener.feed(stream[start : start + step])
        out += opener.close()
    except ChannelError as error:
        return out, type(error)
    return out, None


@pytest.mark.parametrize("kem", Kem)
@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("size", [0, 1, 512, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
def test_a_response_opens_to_what_was_sealed(kem: Kem, aead: Aead, size: int) -> None:
    opener, sealer = exchange(kem, aead)
    stream = sealer.begin() + sealer.seal(b"p" * size) + sealer.finish(b"q" * size)
    assert drain(opener, stream, 1 << 20) == (b"p" * size + b"q" * size, None)
    assert opener.response_nonce == sealer.response_nonce
    assert len(sealer.response_nonce) == aead.response_nonce_bytes


@given(pieces=st.lists(st.binary(max_size=100), max_size=6), step=st.integers(1, 200))
@settings(max_examples=40, deadline=None)
def test_the_split_of_the_stream_does_not_matter(pieces: list[bytes], step: int) -> None:
    opener, sealer = exchange(Kem.X25519)
    stream = sealer.begin() + b"".join(map(sealer.seal, pieces)) + sealer.finish()
    assert drain(opener, stream, step) == (b"".join(pieces), None)


def test_each_frame_comes_out_as_it_arrives_and_the_final_one_at_the_end() -> None:
    opener, sealer = exchange()
    assert opener.feed(sealer.begin()) == b""
    assert opener.feed(sealer.seal(b"one")) == b"one"
    assert opener.feed(sealer.seal(b"two") + sealer.seal(b"three")) == b"twothree"
    assert opener.feed(sealer.finish(b"four")) == b""
    assert opener.close() == b"four"


def test_no_frame_is_sent_for_nothing() -> None:
    _, sealer = exchange()
    sealer.begin()
    assert sealer.seal(b"") == b""


def test_long_input_is_split_at_the_chunk_size() -> None:
    _, sealer = exchange()
    sealer.begin()
    stream = sealer.seal(b"p" * (2 * CHUNK_SIZE)) + sealer.finish(b"q" * (CHUNK_SIZE + 1))
    assert [len(frame) for frame in split_frames(stream)] == [CHUNK_SIZE + 20] * 3 + [1 + 1 + 16]


@given(data=st.data(), step=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_threat_10_no_other_sequence_of_frames_opens(data: st.DataObject, step: int) -> None:
    here = FixedExchange("a")
    nonce, *frames = here.response_frames()
    indices = data.draw(st.lists(st.integers(0, len(frames) - 1), max_size=7))
    out, error = drain(here.seal().opener, nonce + b"".join(frames[index] for index in indices), step)
    in_order = 0
    while in_order < len(indices) and indices[in_order] == in_order:
        in_order += 1
    if indices == [0, 1, 2, 3]:
        assert (out, error) == (b"".join(here.response_pieces), None)
    else:
        assert error in {DecapsulationError, TruncatedMessage}
        assert out == b"".join(here.response_pieces[: min(in_order, 3)])


@given(step=st.integers(1, 400), cut=st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_threat_09_every_cut_is_an_error_at_the_reader(step: int, cut: int) -> None:
    here = FixedExchange("a")
    frames = here.response_frames()
    stream = b"".join(frames)
    cut %= len(stream)
    out, error = drain(here.seal().opener, stream[:cut], step)
    assert error in {TruncatedMessage, DecapsulationError}
    whole = sum(len(b"".join(frames[: index + 1])) <= cut for index in range(len(frames)))
    assert out == b"".join(here.response_pieces[: max(0, whole - 1)])


@given(step=st.integers(1, 400), index=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_a_flipped_bit_releases_only_what_precedes_it(step: int, index: int, bit: int) -> None:
    here = FixedExchange("a")
    frames = here.response_frames()
    stream = bytearray(b"".join(frames))
    index %= len(stream)
    stream[index] ^= 1 << bit
    out, error = drain(here.seal().opener, bytes(stream), step)
    assert error is not None
    expected = b"".join(here.response_pieces)
    assert expected.startswith(out)
    assert out != expected


def test_what_is_released_before_an_error_does_not_depend_on_the_split() -> None:
    here = FixedExchange("a")
    nonce, first, second, *_ = here.response_frames()
    stream = nonce + first + second[:-1] + bytes([second[-1] ^ 1])
    results = {drain(here.seal().opener, stream, step) for step in (1, 2, 17, len(stream))}
    assert results == {(here.response_pieces[0], DecapsulationError)}


def test_the_error_stays() -> None:
    here = FixedExchange("a")
    nonce, first, *_ = here.response_frames()
    opener = here.seal().opener
    with pytest.raises(DecapsulationError):
        opener.feed(nonce + b"\x20" + bytes(32))
    calls: list[Callable[[], object]] = [partial(opener.feed, first), partial(opener.feed, b""), opener.close]
    for call in calls:
        with pytest.raises(DecapsulationError):
            call()


def test_threat_11_a_chunk_of_one_answer_does_not_open_in_another_to_the_same_question() -> None:
    """Two answers to one request differ in the nonce alone, and that is enough."""
    config, private_key = KEYS[Kem.X25519]
    sealed = seal_request(config, b"question")
    first, second = (open_request(sealed.message, config, private_key).sealer for _ in range(2))
    assert first.response_nonce != second.response_nonce
    sealed.opener.feed(first.begin())
    second.begin()
    with pytest.raises(DecapsulationError):
        sealed.opener.feed(second.seal(b"answer"))


def test_threat_12_the_counter_ends_in_an_error_and_never_wraps() -> None:
    opener, sealer = exchange()
    opener.feed(sealer.begin())
    sealer._counter = opener._counter = MAX_SEQUENCE - 1
    frame = sealer.seal(b"last")
    assert opener.feed(frame) == b"last"
    more = partial(sealer.seal, b"more")
    for attempt in (more, sealer.finish, more):
        with pytest.raises(MessageTooLarge, match="too many chunks"):
            attempt()
    wrapped = (sealer._base_nonce ^ MAX_SEQUENCE).to_bytes(12, "big")
    with pytest.raises(DecapsulationError):
        opener.feed(frame_chunk(sealer._cipher.encrypt(wrapped, b"one too many", None)))


def test_threat_12_no_two_chunks_share_a_nonce() -> None:
    """Equal plaintexts under equal nonces would give equal ciphertexts."""
    _, sealer = exchange()
    sealer.begin()
    assert len({sealer.seal(b"same") for _ in range(300)}) == 300


def test_threat_20_a_response_over_the_cap_is_neither_made_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ohttp_response, "MAX_RESPONSE_BYTES", 1000)
    opener, sealer = exchange()
    start = sealer.begin() + sealer.seal(b"p" * 900)
    assert opener.feed(start) == b"p" * 900
    with pytest.raises(MessageTooLarge):
        sealer.seal(b"p" * 100)
    with pytest.raises(MessageTooLarge):
        opener.feed(bytes(100))
    with pytest.raises(MessageTooLarge):
        opener.close()


def test_the_cap_is_what_the_specification_says() -> None:
    assert MAX_RESPONSE_BYTES == 67_108_864


def test_the_order_of_calls_is_kept() -> None:
    _, sealer = exchange()
    early: list[Callable[[], object]] = [partial(sealer.seal, b"early"), sealer.finish]
    for attempt in early:
        with pytest.raises(ChannelError, match="begun once"):
            attempt()
    sealer.begin()
    with pytest.raises(ChannelError, match="begun once"):
        sealer.begin()
    sealer.finish()
    late: list[Callable[[], object]] = [sealer.begin, partial(sealer.seal, b"late"), sealer.finish]
    for attempt in late:
        with pytest.raises(ChannelError, match="begun once"):
            attempt()


def test_the_nonce_is_known_only_when_it_has_arrived() -> None:
    opener, sealer = exchange()
    with pytest.raises(TruncatedMessage):
        _ = opener.response_nonce
    opener.feed(sealer.begin()[:-1])
    with pytest.raises(TruncatedMessage):
        _ = opener.response_nonce
    opener.feed(sealer.response_nonce[-1:])
    assert opener.response_nonce == sealer.response_nonce


def test_an_answer_is_read_once() -> None:
    opener, sealer = exchange()
    opener.feed(sealer.begin() + sealer.finish(b"end"))
    assert opener.close() == b"end"
    with pytest.raises(ChannelError, match="read to its end"):
        opener.close()
    with pytest.raises(ChannelError, match="read to its end"):
        opener.feed(b"")


def test_only_the_final_chunk_carries_the_final_aad() -> None:
    opener, sealer = exchange()
    opener.feed(sealer.begin())
    with pytest.raises(DecapsulationError):
        opener.feed(frame_chunk(sealer._encrypt(b"piece", FINAL_AAD)))


@given(stream=st.binary(max_size=200), step=st.integers(1, 200))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_errors(stream: bytes, step: int) -> None:
    out, error = drain(FixedExchange("a").seal().opener, stream, step)
    assert out == b""
    assert error in {TruncatedMessage, DecapsulationError, MessageTooLarge}


def test_random_bytes_behind_a_genuine_nonce_open_nothing() -> None:
    opener, sealer = exchange()
    out, error = drain(opener, sealer.begin() + b"\x00" + os.urandom(64), 10)
    assert (out, error) == (b"", DecapsulationError)
