from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.errors import RequestRefused
from mitai_enclave.inner import Rules, Sizes, WrongDate, check_request, decode_base64url, decode_inner, http_date
from mitai_enclave.salt import CacheSalt
from support.sealed_client import TOKEN, base64url, chat_body, inner_request
from support.sidecar import TOKENS

if TYPE_CHECKING:
    from mitai_crypto.bhttp import Request

NOW = 1_800_000_000
RULES = Rules(TOKENS, CacheSalt(bytes(32)), "simulated", 100_000)


def good(**changes: object) -> Request:
    return inner_request(**{"date": http_date(NOW).decode(), **changes})


def refusal(request: Request) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        check_request(request, RULES, NOW)
    return caught.value


def with_headers(request: Request, *extra: tuple[bytes, bytes]) -> Request:
    return dataclasses.replace(request, headers=(*request.headers, *extra))


def test_a_good_request_becomes_a_call() -> None:
    call = check_request(good(request_id=base64url(b"0123456789abcdef")), RULES, NOW)
    assert (call.principal, call.request_id, call.stream) == ("alice", b"0123456789abcdef", False)
    assert "simulated" not in repr(call)


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_a_date_inside_the_window_passes(offset: int) -> None:
    assert check_request(good(date=http_date(NOW + offset).decode()), RULES, NOW).principal == "alice"


@pytest.mark.parametrize(
    "date",
    [
        http_date(NOW - 301).decode(),
        http_date(NOW + 301).decode(),
        None,
        "now",
        "Friday, 15-Jan-27 08:00:00 GMT",
        "Fri Jan 15 08:00:00 2027",
        http_date(NOW).decode().replace("Fri", "Mon"),
        http_date(NOW).decode().lower(),
        http_date(NOW).decode().replace(" GMT", "  GMT"),
    ],
)
def test_a_date_outside_the_window_or_of_another_form_is_a_date_problem(date: str | None) -> None:
    assert isinstance(refusal(good(date=date)), WrongDate)


def test_two_dates_are_a_date_problem() -> None:
    assert isinstance(refusal(with_headers(good(), (b"date", http_date(NOW)))), WrongDate)


@pytest.mark.parametrize("value", [b"Basic x", b"Bearer", b"Bearer unknown", b"", b"Bearer  " + TOKEN.encode()])
def test_a_wrong_authorization_is_a_401(value: bytes) -> None:
    found = refusal(with_headers(good(token=None), (b"authorization", value)))
    assert (found.status, found.code) == (401, "invalid_api_key")


def test_two_authorizations_are_a_401_and_the_scheme_has_no_case() -> None:
    assert refusal(with_headers(good(), (b"authorization", f"Bearer {TOKEN}".encode()))).status == 401
    request = with_headers(good(token=None), (b"authorization", f"bEARER {TOKEN}".encode()))
    assert check_request(request, RULES, NOW).principal == "alice"


@pytest.mark.parametrize(
    "value",
    [None, b"x", base64url(bytes(15)), base64url(bytes(17)), base64url(bytes(16)) + b"==", b"A" * 21 + b"B"],
)
def test_a_request_id_is_exactly_sixteen_bytes(value: bytes | None) -> None:
    found = refusal(good(request_id=value))
    assert (found.status, found.code, found.param) == (400, "invalid_header", "mitai-request-id")


def test_the_checks_come_in_the_order_of_the_spec() -> None:
    request = good(
        authority=b"example.com",
        date=None,
        token=None,
        path="/nowhere",
        request_id=None,
        body=b"{",
        content_type=None,
    )
    codes = []
    for repair in (
        {"authority": b"mitai.invalid"},
        {"date": True},
        {"token": True},
        {"path": b"/v1/chat/completions"},
        {"request_id": True},
        {"content_type": True},
        {"content": chat_body()},
    ):
        codes.append(refusal(request).code)
        added = {
            "date": (b"date", http_date(NOW)),
            "token": (b"authorization", f"Bearer {TOKEN}".encode()),
            "request_id": (b"mitai-request-id", base64url(bytes(16))),
            "content_type": (b"content-type", b"application/json; charset=utf-8"),
        }
        ((name, value),) = repair.items()
        request = with_headers(request, added[name]) if name in added else dataclasses.replace(request, **{name: value})
    assert codes == [
        "wrong_authority",
        "date",
        "invalid_api_key",
        "unknown_url",
        "invalid_header",
        "unsupported_media_type",
        "invalid_json",
    ]
    assert check_request(request, RULES, NOW).principal == "alice"


def test_codings_and_media_types() -> None:
    assert refusal(with_headers(good(), (b"content-encoding", b"gzip"))).status == 415
    assert check_request(with_headers(good(), (b"content-encoding", b"identity")), RULES, NOW)
    assert refusal(good(content_type="text/plain")).status == 415
    models = good(method="GET", path="/v1/models", content_type=None)
    assert check_request(models, RULES, NOW).body == b""
    assert refusal(dataclasses.replace(models, content=b"x")).code == "invalid_value"


def test_what_is_no_binary_http_is_refused() -> None:
    with pytest.raises(RequestRefused) as caught:
        decode_inner(b"\x05")
    assert (caught.value.status, caught.value.code) == (400, "malformed_message")


@pytest.mark.parametrize("text", [b"", b"AA", b"AAA=", b"AB", b"A", b"+A", b"A A", "é".encode()])
def test_base64url_has_one_spelling(text: bytes) -> None:
    assert decode_base64url(text, 2) is None


def test_base64url_decodes() -> None:
    assert decode_base64url(b"_-8", 2) == b"\xff\xef"


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ((), Sizes()),
        (((b"mitai-padding", b"none"),), Sizes(padded=False)),
        (((b"mitai-cadence", b"10"),), Sizes(cadence=0.01)),
        (((b"mitai-cadence", b"1000"),), Sizes(cadence=1.0)),
    ],
)
def test_the_device_chooses_the_sizes(fields: tuple[tuple[bytes, bytes], ...], sizes: Sizes) -> None:
    assert check_request(with_headers(good(), *fields), RULES, NOW).sizes == sizes


@pytest.mark.parametrize(
    "fields",
    [
        ((b"mitai-padding", b"None"),),
        ((b"mitai-padding", b""),),
        ((b"mitai-padding", b"none"), (b"mitai-padding", b"none")),
        ((b"mitai-cadence", b"9"),),
        ((b"mitai-cadence", b"1001"),),
        ((b"mitai-cadence", b"0100"),),
        ((b"mitai-cadence", b"-50"),),
        ((b"mitai-cadence", "５０".encode()),),
        ((b"mitai-cadence", b"50"), (b"mitai-cadence", b"50")),
        ((b"mitai-cadence", b"50"), (b"mitai-padding", b"none")),
    ],
)
def test_other_sizes_are_refused(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    found = refusal(with_headers(good(), *fields))
    assert (found.status, found.code) == (400, "invalid_header")
