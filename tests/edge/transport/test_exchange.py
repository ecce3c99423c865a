from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitai.errors import BhttpError, DecapsulationError, IncompleteAnswer, ReceiptError, TruncatedMessage
from mitai.padding import PADDED, UNPADDED, Padding
from mitai.transport.exchange import (
    AnswerReader,
    Exchange,
    PlainRequest,
    imf_fixdate,
    inner_request,
    new_request_id,
)
from mitai_crypto.kem import Kem
from mitai_crypto.labels import GATEWAY_PATH, RECEIPT_TRAILER
from mitai_crypto.verify import verify_evidence
from mitai_enclave.frames import fill
from support.enclave_simulator import (
    Misbehaviour,
    Outer,
    Raw,
    Reply,
    SimulatedEnclave,
    streamed,
    whole,
)
from support.evidence_builder import NONCE, BuiltEnclave, build_enclave
from support.sealed_exchange import key_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_crypto.bhttp import Request

NOW = int(time.time())
ENCLAVE = build_enclave(now=NOW)
PLAIN = PlainRequest(
    b"POST",
    b"/v1/chat/completions",
    ((b"Host", b"api.example"), (b"Content-Type", b"application/json"), (b"Content-Length", b"15")),
    b'{"stream":true}',
)
WORDS = ("Leave", " is", " 25 days", "。密态")


TOKEN = "t0ken"


def request(plain: PlainRequest = PLAIN, *, token: str | None = TOKEN, padding: Padding = PADDED) -> Request:
    return inner_request(plain, token=token, request_id=new_request_id(), date=imf_fixdate(NOW), padding=padding)


def exchange(enclave: BuiltEnclave = ENCLAVE) -> Exchange:
    result = verify_evidence(enclave.bundle(NONCE), nonce=NONCE, policy=enclave.policy(), now=NOW)
    return Exchange(request(), result, result.key_config(NOW), PADDED)


def frames_for(sealed: Exchange, reply: Reply, *, enclave: BuiltEnclave = ENCLAVE, **tricks: object) -> list[bytes]:
    """Let the simulator answer a sealed request: response nonce, one frame a chunk, final frame."""
    simulator = SimulatedEnclave(enclave)
    simulator.misbehaviour = Misbehaviour(**tricks)
    simulator.answer = lambda _: reply
    answer = simulator.respond(Outer("POST", sealed.target, (), sealed.message))
    assert not isinstance(answer, Raw)
    return list(answer)


def read(reader: AnswerReader, pieces: list[bytes]) -> bytes:
    return b"".join([*(reader.feed(piece) for piece in pieces), reader.close()])


# -- the request


def test_the_inner_request_names_no_host_and_keeps_no_framing() -> None:
    inner = request()
    assert (inner.method, inner.scheme, inner.authority, inner.path) == (
        b"POST",
        b"https",
        b"mitai.invalid",
        b"/v1/chat/completions",
    )
    names = [name for name, _ in inner.headers]
    assert names == [
        b"content-type",
        b"accept-encoding",
        b"authorization",
        b"date",
        b"mitai-request-id",
        b"mitai-blind",
    ]
    fields = dict(inner.headers)
    assert fields[b"accept-encoding"] == b"identity"
    assert fields[b"authorization"] == b"Bearer t0ken"
    assert len(base64.urlsafe_b64decode(fields[b"mitai-request-id"] + b"==")) == 16
    assert len(base64.urlsafe_b64decode(fields[b"mitai-blind"] + b"=")) == 32


def test_fields_that_a_connection_field_names_are_dropped() -> None:
    plain = replace(PLAIN, headers=((b"Connection", b"close, X-Hop"), (b"x-hop", b"1"), (b"x-kept", b"2")))
    assert [name for name, _ in request(plain).headers][:1] == [b"x-kept"]
    assert b"x-hop" not in dict(request(plain).headers)


def test_callers_cannot_set_what_the_channel_sets() -> None:
    spoofed = (
        (b"Mitai-Request-Id", b"x"),
        (b"mitai-blind", b"x"),
        (b"Date", b"x"),
        (b"Accept-Encoding", b"gzip"),
    )
    inner = request(replace(PLAIN, headers=spoofed))
    assert b"x" not in [value for _, value in inner.headers]
    assert [value for name, value in inner.headers if name == b"accept-encoding"] == [b"identity"]


def test_without_a_token_the_callers_own_authorization_goes() -> None:
    plain = replace(PLAIN, headers=((b"Authorization", b"Bearer mine"),))
    assert dict(request(plain, token=None).headers)[b"authorization"] == b"Bearer mine"
    assert dict(request(plain, token="theirs").headers)[b"authorization"] == b"Bearer theirs"


def test_a_token_cannot_smuggle_a_field() -> None:
    with pytest.raises(BhttpError):
        request(token="x\r\nmitai-cache-salt: y")


def test_two_equal_requests_share_no_blind_and_no_digest() -> None:
    one, other = exchange(), exchange()
    assert one.request_digest != other.request_digest
    assert one.message != other.message


def test_the_outer_path_names_the_key() -> None:
    assert exchange().target == f"{GATEWAY_PATH}/{ENCLAVE.configs[0].fingerprint}"


def test_repr_shows_no_content() -> None:
    assert "stream" not in repr(PLAIN)
    assert "api.example" not in repr(PLAIN)


# -- the answer


def test_a_whole_answer_comes_with_its_receipt() -> None:
    sealed = exchange()
    reader = sealed.answer()
    reply = streamed(*WORDS)
    assert read(reader, frames_for(sealed, reply)) == b"".join(reply.pieces)
    assert reader.head is not None
    assert reader.head.status == 200
    assert reader.receipt is not None
    assert reader.receipt.request == sealed.request_digest
    assert reader.signed_receipt.count(b".") == 1


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(size=st.integers(1, 400))
def test_threat_34_any_tcp_segmentation_gives_the_same_answer(size: int) -> None:
    sealed = exchange()
    reply = streamed(*WORDS)
    data = b"".join(frames_for(sealed, reply))
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    assert read(sealed.answer(), pieces) == b"".join(reply.pieces)


def test_text_comes_out_frame_by_frame() -> None:
    sealed = exchange()
    reply = streamed(*WORDS)
    reader = sealed.answer()
    released = [reader.feed(frame) for frame in frames_for(sealed, reply)[:-1]]
    assert released[2:-2] == list(reply.pieces[:-2])
    assert released[-1] == b""  # [DONE] waits for the receipt
    assert reader.receipt is None


@pytest.mark.parametrize("reply", [streamed(*WORDS), whole("Leave is 25 days.")], ids=["stream", "whole"])
def test_threat_09_cut_after_every_frame(reply: Reply) -> None:
    frames = len(frames_for(exchange(), reply))
    for kept in range(frames):
        sealed = exchange()
        with pytest.raises(IncompleteAnswer) as caught:
            read(sealed.answer(), frames_for(sealed, reply)[:kept])
        assert isinstance(caught.value.__cause__, TruncatedMessage)


def test_threat_09_cut_at_every_byte_of_the_end() -> None:
    final = len(frames_for(exchange(), streamed("a"))[-1])
    for missing in range(1, final, 7):
        sealed = exchange()
        data = b"".join(frames_for(sealed, streamed("a")))
        with pytest.raises(IncompleteAnswer):
            read(sealed.answer(), [data[:-missing]])


def _without_final(frames: list[bytes]) -> list[bytes]:
    """Promote the last inner chunk to the final one."""
    return [*frames[:-2], b"\x00" + frames[-2][2:]]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frames: [*frames, b"more"],
        _without_final,
        lambda frames: [*frames[:2], frames[3], frames[2], *frames[4:]],
        lambda frames: [*frames[:3], frames[2], *frames[3:]],
        lambda frames: [*frames[:2], *frames[3:]],
        lambda frames: [bytes(len(frames[0])), *frames[1:]],
    ],
    ids=["append", "promote", "reorder", "duplicate", "drop", "nonce"],
)
def test_threat_09_frames_cannot_be_rearranged(spoil: Callable[[list[bytes]], list[bytes]]) -> None:
    sealed = exchange()
    with pytest.raises(IncompleteAnswer) as caught:
        read(sealed.answer(), spoil(frames_for(sealed, streamed(*WORDS))))
    assert isinstance(caught.value.__cause__, DecapsulationError)


def test_threat_11_a_chunk_of_another_exchange_does_not_open() -> None:
    one, other = exchange(), exchange()
    frames, foreign = frames_for(one, streamed(*WORDS)), frames_for(other, streamed(*WORDS))
    with pytest.raises(IncompleteAnswer):
        read(one.answer(), [*frames[:2], foreign[2], *frames[3:]])


def test_the_reader_stays_failed() -> None:
    sealed = exchange()
    reader = sealed.answer()
    frames = frames_for(sealed, streamed(*WORDS))
    with pytest.raises(IncompleteAnswer):
        read(reader, [*frames[:2], *frames[3:]])
    for again in (reader.close, lambda: reader.feed(b"")):
        with pytest.raises(IncompleteAnswer):
            again()


def _other_receipt() -> bytes:
    sealed = exchange()
    reader = sealed.answer()
    read(reader, frames_for(sealed, streamed(*WORDS)))
    return reader.signed_receipt


@pytest.mark.parametrize(
    "trailers",
    [
        lambda _: (),
        lambda value: ((RECEIPT_TRAILER, value), (RECEIPT_TRAILER, value)),
        lambda _: ((RECEIPT_TRAILER, _other_receipt()),),
        lambda value: ((RECEIPT_TRAILER, value[:-1] + (b"A" if value[-1:] != b"A" else b"Q")),),
        lambda _: ((RECEIPT_TRAILER, b""),),
        lambda value: ((b"mitai-receipt-v2", value),),
    ],
    ids=["none", "two", "of another exchange", "damaged", "empty", "other name"],
)
def test_no_valid_receipt_is_an_incomplete_answer(
    trailers: Callable[[bytes], tuple[tuple[bytes, bytes], ...]],
) -> None:
    sealed = exchange()
    with pytest.raises(IncompleteAnswer) as caught:
        read(sealed.answer(), frames_for(sealed, streamed(*WORDS), trailers=trailers))
    assert isinstance(caught.value.__cause__, ReceiptError)


def test_a_receipt_by_another_key_is_refused() -> None:
    sealed = exchange()
    impostor = replace(ENCLAVE, receipt_key=build_enclave("B", now=NOW).receipt_key)
    with pytest.raises(IncompleteAnswer, match="not signed"):
        read(sealed.answer(), frames_for(sealed, streamed(*WORDS), enclave=impostor))


@pytest.mark.parametrize("change", [{"model_digest": "0" * 64}, {"configuration": "1" * 64}])
def test_a_receipt_about_another_model_or_configuration_is_refused(change: dict[str, str]) -> None:
    sealed = exchange()
    other = replace(ENCLAVE, material=replace(ENCLAVE.material, **change))
    with pytest.raises(IncompleteAnswer, match="another exchange"):
        read(sealed.answer(), frames_for(sealed, streamed(*WORDS), enclave=other))


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"identity, gzip"])
def test_threat_33_an_inner_content_coding_is_refused(coding: bytes) -> None:
    sealed = exchange()
    reply = replace(streamed(*WORDS), headers=((b"content-encoding", coding),))
    with pytest.raises(IncompleteAnswer, match="coding"):
        read(sealed.answer(), frames_for(sealed, reply))


# -- sizes


@pytest.mark.parametrize("suite", list(Kem))
def test_threat_18_the_sealed_size_says_nothing_about_what_is_inside(suite: Kem) -> None:
    result = verify_evidence(ENCLAVE.bundle(NONCE), nonce=NONCE, policy=ENCLAVE.policy(), now=NOW)
    config, _ = key_pair(suite)
    sizes = set()
    for text in ("", "保存多久？", "x" * 9000):
        for path in (b"/v1/chat/completions", b"/v1/embeddings"):
            inner = request(replace(PLAIN, path=path, content=text.encode()), token="t" * (1 + len(text) % 50))
            sizes.add(len(Exchange(inner, result, config, PADDED).message))
    assert len(sizes) == 1


def test_a_request_over_its_class_gets_the_next_one_and_nothing_is_padded_where_it_is_off() -> None:
    result = verify_evidence(ENCLAVE.bundle(NONCE), nonce=NONCE, policy=ENCLAVE.policy(), now=NOW)

    def size(content: int, padding: Padding) -> int:
        inner = request(replace(PLAIN, content=bytes(content)))
        return len(Exchange(inner, result, result.key_config(NOW), padding).message)

    assert size(15_000, PADDED) < size(17_000, PADDED) == size(30_000, PADDED) < 33_000 + 1200
    assert size(11, UNPADDED) == size(10, UNPADDED) + 1


@pytest.mark.parametrize("change", [lambda piece: piece[:-1], lambda piece: piece + b"\n", lambda _: b"data: 1\n\n"])
def test_threat_17_a_stream_whose_pieces_have_other_sizes_is_refused(change: Callable[[bytes], bytes]) -> None:
    sealed = exchange()
    simulator = SimulatedEnclave(ENCLAVE)
    full = fill(b"data: 1\n\n")
    simulator.answer = lambda _: Reply(pieces=(full, change(full), full))
    simulator.misbehaviour.framed = False
    answer = simulator.respond(Outer("POST", sealed.target, (), sealed.message))
    with pytest.raises(IncompleteAnswer, match="one length"):
        read(sealed.answer(), list(answer))


def test_pieces_of_any_size_pass_where_padding_was_turned_off() -> None:
    result = verify_evidence(ENCLAVE.bundle(NONCE), nonce=NONCE, policy=ENCLAVE.policy(), now=NOW)
    sealed = Exchange(request(padding=UNPADDED), result, result.key_config(NOW), UNPADDED)
    reply = streamed(*WORDS)
    assert read(sealed.answer(), frames_for(sealed, reply)) == b"".join(reply.pieces)


def test_what_is_asked_of_the_enclave() -> None:
    def asked(padding: Padding) -> dict[bytes, bytes]:
        return {
            name: value
            for name, value in request(padding=padding).headers
            if name in {b"mitai-padding", b"mitai-cadence"}
        }

    assert asked(PADDED) == {}
    assert asked(UNPADDED) == {b"mitai-padding": b"none"}
    assert asked(Padding(cadence=50)) == {b"mitai-cadence": b"50"}
