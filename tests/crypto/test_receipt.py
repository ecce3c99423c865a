from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import ReceiptError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.receipt import (
    Receipt,
    RequestDigest,
    ResponseDigest,
    Usage,
    exchange_digest,
    issue_receipt,
    parse_receipt_unchecked,
    verify_receipt,
)

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
RECEIPT = Receipt(
    exchange=b"e" * 32,
    request=b"q" * 32,
    response=b"a" * 32,
    crypto_material=b"c" * 32,
    model="11" * 32,
    configuration="22" * 32,
    finish="stop",
    usage=Usage(prompt_tokens=7, completion_tokens=3),
    time=1_767_600_000,
    tee=TeeKind.SIMULATED,
)
EXPECTED = {
    "receipt_key": PUBLIC,
    "exchange": RECEIPT.exchange,
    "request_digest": RECEIPT.request,
    "response_digest": RECEIPT.response,
    "crypto_material_digest": RECEIPT.crypto_material,
    "model_digest": RECEIPT.model,
    "configuration": RECEIPT.configuration,
    "tee": RECEIPT.tee,
}
SHORT = st.binary(max_size=3)
FIELDS = st.lists(st.tuples(SHORT, SHORT), max_size=2)
RESPONSES = st.tuples(st.integers(0, 999), FIELDS, SHORT)
REQUESTS = st.tuples(SHORT, SHORT, SHORT, SHORT, FIELDS, SHORT)


def signed(body: bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    return b".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=") for part in (body, key.sign(b"mitai/receipt/v1\0" + body))
    )


@pytest.mark.parametrize(
    "receipt",
    [RECEIPT, replace(RECEIPT, usage=None), replace(RECEIPT, finish="error", usage=None)],
)
def test_a_receipt_of_this_exchange_verifies(receipt: Receipt) -> None:
    assert verify_receipt(issue_receipt(KEY, receipt), **EXPECTED) == receipt


def test_an_external_engine_has_no_model_digest() -> None:
    external = replace(RECEIPT, model=None)
    value = issue_receipt(KEY, external)
    assert verify_receipt(value, **(EXPECTED | {"model_digest": None})) == external
    with pytest.raises(ReceiptError, match="model"):
        verify_receipt(value, **EXPECTED)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name not in {"receipt_key", "tee"}])
def test_any_other_value_is_another_exchange(name: str) -> None:
    expected = EXPECTED[name]
    wrong = bytes(32) if isinstance(expected, bytes) else "00" * 32
    with pytest.raises(ReceiptError, match="another exchange"):
        verify_receipt(issue_receipt(KEY, RECEIPT), **(EXPECTED | {name: wrong}))


def test_another_evidence_kind_is_another_exchange() -> None:
    with pytest.raises(ReceiptError, match="tee"):
        verify_receipt(issue_receipt(KEY, RECEIPT), **(EXPECTED | {"tee": TeeKind.TDX}))


def test_another_key_is_refused_before_the_text_is_read() -> None:
    other = Ed25519PrivateKey.generate()
    with pytest.raises(ReceiptError, match="not signed"):
        verify_receipt(signed(b"noise", other), **EXPECTED)
    with pytest.raises(ReceiptError, match="not signed"):
        verify_receipt(issue_receipt(KEY, RECEIPT), **(EXPECTED | {"receipt_key": b"short"}))


def test_a_signature_for_another_purpose_is_refused() -> None:
    body = RECEIPT.encode()
    value = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (body, KEY.sign(body)))
    with pytest.raises(ReceiptError, match="not signed"):
        verify_receipt(value, **EXPECTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body.replace(b'"v":1', b'"v":2'),
        lambda body: body.replace(b'{"', b'{"aaa":1,"', 1),
        lambda body: body + b" ",
        lambda body: body.replace(b'"stop"', b'""'),
        lambda body: body.replace(b'"stop"', b'"STOP"'),
        lambda body: body.replace(b'"completion_tokens":3', b'"completion_tokens":-3'),
        lambda body: body.replace(b'"simulated"', b'"sgx"'),
        lambda _: b"[]",
    ],
)
def test_a_signed_text_that_breaks_the_rules_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(signed(change(RECEIPT.encode())), **EXPECTED)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda value: value.replace(b".", b""),
        lambda value: value + b"=",
        lambda value: value + b".x",
        lambda value: value.replace(b".", b".\n"),
        lambda value: value[:-1] + (b"B" if value.endswith(b"A") else b"A"),
        lambda _: b"A" * 9000 + b"." + b"A",
        lambda value: value[:-2] + "密".encode(),
    ],
)
def test_a_spoiled_value_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(spoil(issue_receipt(KEY, RECEIPT)), **EXPECTED)


def test_a_value_has_one_spelling() -> None:
    value = issue_receipt(KEY, RECEIPT)
    last = value[-1:]
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    stray = alphabet[alphabet.index(last) ^ 1 : (alphabet.index(last) ^ 1) + 1]
    with pytest.raises(ReceiptError, match="base64url"):
        verify_receipt(value[:-1] + stray, **EXPECTED)


def test_nothing_is_issued_that_would_not_verify() -> None:
    for receipt in (
        replace(RECEIPT, finish="Stopped."),
        replace(RECEIPT, exchange=b""),
        replace(RECEIPT, time=-1),
    ):
        with pytest.raises(ReceiptError):
            issue_receipt(KEY, receipt)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    with pytest.raises(ReceiptError):
        verify_receipt(data, **EXPECTED)
    with pytest.raises(ReceiptError):
        parse_receipt_unchecked(data)


def digest_request(*request: *tuple[bytes, bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes]) -> bytes:
    method, scheme, authority, path, headers, content = request
    digest = RequestDigest(method, scheme, authority, path, headers)
    digest.update(content)
    return digest.digest()


@given(REQUESTS, REQUESTS)
def test_threat_31_different_requests_have_different_digests(
    one: tuple[bytes, bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes],
    other: tuple[bytes, bytes, bytes, bytes, list[tuple[bytes, bytes]], bytes],
) -> None:
    assert (digest_request(*one) == digest_request(*other)) == (one == other)


@given(st.lists(SHORT, min_size=6, max_size=6), st.integers(1, 5))
def test_threat_31_bytes_cannot_move_between_the_parts_of_a_request(parts: list[bytes], move: int) -> None:
    method, scheme, authority, path, value, content = parts
    joined = scheme + authority
    moved = (method, joined[:move], joined[move:], path, [(b"a", value)], content)
    plain = (method, scheme, authority, path, [(b"a", value)], content)
    assert (digest_request(*moved) == digest_request(*plain)) == (moved == plain)
    smuggled = (method, scheme, authority, path, [], value + content)
    assert digest_request(*smuggled) != digest_request(*plain)


@given(RESPONSES, RESPONSES)
def test_threat_31_different_responses_have_different_digests(
    one: tuple[int, list[tuple[bytes, bytes]], bytes],
    other: tuple[int, list[tuple[bytes, bytes]], bytes],
) -> None:
    digests = []
    for status, headers, content in (one, other):
        digest = ResponseDigest(status, headers)
        digest.update(content)
        digests.append(digest.digest())
    assert (digests[0] == digests[1]) == (one == other)


@given(st.lists(st.binary(max_size=5), max_size=5))
def test_content_may_arrive_in_any_pieces(pieces: list[bytes]) -> None:
    streamed = ResponseDigest(200, [(b"content-type", b"text/event-stream")])
    for piece in pieces:
        streamed.update(piece)
    whole = ResponseDigest(200, [(b"content-type", b"text/event-stream")])
    whole.update(b"".join(pieces))
    assert streamed.digest() == whole.digest()


def test_a_request_is_never_a_response() -> None:
    assert RequestDigest(b"", b"", b"", b"", []).digest() != ResponseDigest(0, []).digest()


def test_the_request_digest_is_the_formula_of_the_specification() -> None:
    def prefixed(data: bytes) -> bytes:
        return len(data).to_bytes(8, "big") + data

    parts = b"".join(map(prefixed, (b"POST", b"https", b"mitai.invalid", b"/v1/chat/completions")))
    fields = (1).to_bytes(8, "big") + prefixed(b"content-type") + prefixed(b"application/json")
    expected = hashlib.sha256(b"mitai/request/v1\0" + parts + fields + "问题".encode()).digest()
    found = digest_request(
        b"POST", b"https", b"mitai.invalid", b"/v1/chat/completions",
        [(b"content-type", b"application/json")], "问题".encode(),
    )  # fmt: skip
    assert found == expected


def test_a_status_has_two_bytes() -> None:
    for status in (-1, 65_536):
        with pytest.raises(ReceiptError):
            ResponseDigest(status, [])


def test_the_exchange_is_named_by_what_both_sides_sent() -> None:
    assert exchange_digest(b"enc", b"nonce") == hashlib.sha256(b"encnonce").digest()
