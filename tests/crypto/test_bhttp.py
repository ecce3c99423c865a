from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto import bhttp
from mitai_crypto.bhttp import (
    Field,
    Request,
    Response,
    ResponseEncoder,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTENT_PIECES
from support.bhttp_failures import control, lines, string

RFC = {
    name: bytes.fromhex(value)
    for name, value in json.loads(
        (Path(__file__).parent / "vectors" / "published" / "rfc9292.json").read_text()
    ).items()
    if name != "source"
}
HELLO = Request(
    b"GET",
    b"https",
    b"",
    b"/hello.txt",
    (
        (b"user-agent", b"curl/7.16.3 libcurl/7.16.3 OpenSSL/0.9.7l zlib/1.2.3"),
        (b"host", b"www.example.com"),
        (b"accept-language", b"en, mi"),
    ),
)

NAMES = st.sampled_from([b"content-type", b"date", b"mitai-request-id", b"x_1", b"accept-language"])
VALUES = st.from_regex(rb"[\t\x20-\x7e\x80-\xff]{0,20}", fullmatch=True).map(lambda value: value.strip(b" \t"))
FIELDS: st.SearchStrategy[tuple[Field, ...]] = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)
CONTENT = st.binary(max_size=200)
REQUESTS = st.builds(
    Request,
    st.sampled_from([b"GET", b"POST"]),
    st.just(b"https"),
    st.from_regex(rb"[\x21-\x7e]{0,20}", fullmatch=True),
    st.from_regex(rb"/[a-z0-9/?=&%]{0,20}", fullmatch=True),
    FIELDS,
    CONTENT,
)
RESPONSES = st.builds(Response, st.integers(200, 599), FIELDS, CONTENT, FIELDS)


def test_rfc_9292_figure_8() -> None:
    assert decode_request(RFC["request_known_length"]) == HELLO
    assert encode_request(HELLO) == RFC["request_known_length"]


def test_rfc_9292_figure_9() -> None:
    padded = RFC["request_indeterminate_length"]
    assert decode_request(padded) == HELLO
    for cut in range(1, 13):
        assert decode_request(padded[:-cut]) == HELLO
    with pytest.raises(BhttpError):
        decode_request(padded[:-13])


def test_rfc_9292_figure_11() -> None:
    response = decode_response(RFC["response_indeterminate_length"])
    assert response.status == 200
    assert response.content == b"Hello World! My content includes a trailing CRLF.\r\n"
    assert (b"content-length", b"51") in response.headers
    assert not any(name == b"running" for name, _ in response.headers)


def test_rfc_9292_figure_13() -> None:
    response = Response(200, (), b"This content contains CRLF.\r\n", ((b"trailer", b"text"),))
    assert decode_response(RFC["response_known_length"]) == response
    assert encode_response(response) == RFC["response_known_length"]


def test_the_messages_inside_the_drafts_vector() -> None:
    request = decode_request(bytes.fromhex("00034745540568747470730b6578616d706c652e636f6d012f"))
    assert request == Request(b"GET", b"https", b"example.com", b"/")
    assert decode_response(bytes.fromhex("0140c8")) == Response(200)


@given(request=REQUESTS, padding=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_decoding_an_encoded_request_gives_the_request(request: Request, padding: int) -> None:
    assert decode_request(encode_request(request, padding=padding)) == request
    assert len(encode_request(request, padding=padding)) == len(encode_request(request)) + padding


@given(response=RESPONSES, padding=st.integers(0, 40))
@settings(max_examples=150, deadline=None)
def test_decoding_an_encoded_response_gives_the_response(response: Response, padding: int) -> None:
    assert decode_response(encode_response(response, padding=padding)) == response


@given(response=RESPONSES, pieces=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_both_framings_of_a_response_mean_the_same(response: Response, pieces: int) -> None:
    encoder = ResponseEncoder()
    size = len(response.content) // pieces + 1
    stream = encoder.head(response.status, response.headers)
    for start in range(0, len(response.content), size):
        stream += encoder.content(response.content[start : start + size])
    assert decode_response(stream + encoder.end(response.trailers)) == response


@given(request=REQUESTS, pieces=st.lists(CONTENT, max_size=4))
@settings(max_examples=100, deadline=None)
def test_both_framings_of_a_request_mean_the_same(request: Request, pieces: list[bytes]) -> None:
    whole = replace(request, content=b"".join(pieces))
    head = b"\x02" + control(whole.method, whole.scheme, whole.authority, whole.path) + lines(*whole.headers)
    content = b"".join(string(piece) for piece in pieces if piece)
    assert decode_request(head + b"\x00" + content + b"\x00\x00") == whole


@given(request=REQUESTS, cut=st.integers(0, 400))
@settings(max_examples=150, deadline=None)
def test_a_request_cut_short_is_refused_or_loses_whole_trailing_parts(request: Request, cut: int) -> None:
    """A part cut off where it begins looks like one that was left out; the sealed message around it tells."""
    data = encode_request(request)
    with contextlib.suppress(BhttpError):
        cut_short = decode_request(data[: cut % len(data)])
        assert cut_short in {
            request,
            replace(request, content=b""),
            replace(request, headers=(), content=b""),
        }


SPLICED = st.tuples(
    st.sampled_from(sorted(RFC.values())), st.integers(0, 400), st.integers(0, 4), st.binary(max_size=3)
).map(lambda parts: parts[0][: parts[1]] + parts[3] + parts[0][parts[1] + parts[2] :])


@given(data=st.binary(max_size=120) | SPLICED)
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_our_error(data: bytes) -> None:
    with contextlib.suppress(BhttpError):
        request = decode_request(data)
        assert decode_request(encode_request(request)) == request
    with contextlib.suppress(BhttpError):
        response = decode_response(data)
        assert decode_response(encode_response(response)) == response


@pytest.mark.parametrize("framing", ["00", "4000", "80000000", "c000000000000000"])
def test_integers_may_be_longer_than_necessary(framing: str) -> None:
    assert decode_request(bytes.fromhex(framing) + RFC["request_known_length"][1:]) == HELLO


def test_zero_padding_is_told_apart_from_everything_else() -> None:
    data = encode_request(HELLO)
    assert decode_request(data + bytes(1000)) == HELLO
    for tail in (b"\x01", bytes(1000) + b"\x01", b"\x00" + data):
        with pytest.raises(BhttpError, match="padding"):
            decode_request(data + tail)


def test_what_may_not_be_sent_cannot_be_made() -> None:
    for attempt in (
        lambda: replace(HELLO, headers=((b"Host", b"a"),)),
        lambda: replace(HELLO, headers=((b"a", b"b\r\nc: d"),)),
        lambda: replace(HELLO, scheme=b"http"),
        lambda: replace(HELLO, headers=((b"content-length", b"1"),)),
        lambda: Response(99),
        lambda: Response(200, (), b"", ((b"content-length", b"0"),)),
        lambda: Response(200, ((b"content-length", b"1"),)),
    ):
        with pytest.raises(BhttpError):
            attempt()


def test_threat_40_the_authority_is_data_and_nothing_more() -> None:
    """Decoding neither resolves nor judges it beyond its characters: routing is not this layer's business."""
    assert decode_request(encode_request(replace(HELLO, authority=b"169.254.169.254"))).authority == b"169.254.169.254"


def test_a_repr_shows_names_and_sizes_but_no_secret() -> None:
    fields = ((b"authorization", b"Bearer CANARY"),)
    request = replace(HELLO, path=b"/v1?key=CANARY", headers=fields, content=b"CANARY")
    assert repr(request) == "<Request GET /v1 [authorization] 6 bytes>"
    response = Response(200, fields, b"CANARY", fields)
    assert repr(response) == "<Response 200 [authorization] 6 bytes>"


def test_the_public_names() -> None:
    assert bhttp.__all__ == sorted(bhttp.__all__)
    assert {"Request", "Response", "ResponseDecoder", "ResponseEncoder"} < set(bhttp.__all__)


def test_threat_20_content_in_endless_small_pieces_is_refused() -> None:
    # Each piece costs a turn of Python's loop before any token was looked at, so their number is capped.
    head = bytes([2]) + b"\x04POST\x05https\x0dmitai.invalid\x01/" + b"\x00"
    allowed = head + b"\x01x" * MAX_CONTENT_PIECES + b"\x00\x00"
    assert len(decode_request(allowed).content) == MAX_CONTENT_PIECES
    with pytest.raises(BhttpError, match="too many pieces"):
        decode_request(head + b"\x01x" * (MAX_CONTENT_PIECES + 1) + b"\x00\x00")
