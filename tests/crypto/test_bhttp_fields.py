from __future__ import annotations

import pytest

from mitai_crypto.bhttp_fields import (
    Field,
    check_control_data,
    check_fields,
    check_length,
    check_status,
    declared_length,
    encode_lines,
    field_names,
)
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTROL_BYTES, MAX_SECTION_BYTES, MAX_SECTION_LINES


@pytest.mark.parametrize("method", [b"GET", b"POST", b"M-SEARCH", b"x!#$%&'*+.^_`|~9"])
def test_a_method_is_a_token(method: bytes) -> None:
    check_control_data(method, b"https", b"", b"/")


@pytest.mark.parametrize("path", [b"/", b"/v1/models?a=b&c=%20", b"//a", b"/~!$&'()*+,;=:@[]"])
def test_a_path_begins_with_a_slash(path: bytes) -> None:
    check_control_data(b"GET", b"https", b"example.com:443", path)


def test_the_longest_control_data_passes() -> None:
    check_control_data(b"GET", b"https", b"", b"/" + b"a" * (MAX_CONTROL_BYTES - 1))


@pytest.mark.parametrize(
    ("method", "scheme", "authority", "path"),
    [
        (b"", b"https", b"", b"/"),
        (b"GET\n", b"https", b"", b"/"),
        (b"GET", b"HTTPS", b"", b"/"),
        (b"GET", b"", b"", b"/"),
        (b"GET", b"https", b"a\x7f", b"/"),
        (b"GET", b"https", b"", b"/\n"),
        (b"GET", b"https", b"", b"http://a/"),
        (b"G" * (MAX_CONTROL_BYTES + 1), b"https", b"", b"/"),
    ],
)
def test_other_control_data_is_refused(method: bytes, scheme: bytes, authority: bytes, path: bytes) -> None:
    with pytest.raises(BhttpError):
        check_control_data(method, scheme, authority, path)


@pytest.mark.parametrize("status", [200, 404, 599])
def test_final_statuses(status: int) -> None:
    check_status(status)


@pytest.mark.parametrize("status", [-1, 0, 100, 199, 600])
def test_other_statuses_are_refused(status: int) -> None:
    with pytest.raises(BhttpError):
        check_status(status)


@pytest.mark.parametrize("value", [b"", b"a b\tc", "中文".encode(), b"\x80\xff", b"!"])
def test_values_that_http_allows(value: bytes) -> None:
    check_fields(((b"x-name", value),))


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), 127])
def test_no_control_character_passes(code: int) -> None:
    with pytest.raises(BhttpError):
        check_fields(((b"a", b"b" + bytes([code]) + b"c"),))


def test_refusals_never_quote_a_value() -> None:
    with pytest.raises(BhttpError) as failure:
        check_fields(((b"authorization", b"Bearer CANARY\n"),))
    assert "CANARY" not in str(failure.value)


def test_the_caps_of_a_section() -> None:
    line: Field = (b"a", b"b")
    check_fields((line,) * MAX_SECTION_LINES)
    with pytest.raises(BhttpError, match="lines"):
        check_fields((line,) * (MAX_SECTION_LINES + 1))
    check_fields(((b"a", b"b" * (MAX_SECTION_BYTES - 1)),))
    with pytest.raises(BhttpError, match="over"):
        check_fields(((b"a", b"b" * MAX_SECTION_BYTES),))


def test_lengths_in_trailers_are_refused() -> None:
    check_fields(((b"content-length", b"1"),))
    for name in (b"content-length", b"host"):
        with pytest.raises(BhttpError, match="trailers"):
            check_fields(((name, b"1"),), trailers=True)


def test_a_declared_length_is_one_decimal_number() -> None:
    assert declared_length(()) is None
    assert declared_length(((b"content-length", b"0012"),)) == 12
    for value in (b"", b"-1", b"1.0", b"0x1", b"1 2", b"\xd9\xa1", b"1" * 20):
        with pytest.raises(BhttpError):
            declared_length(((b"content-length", value),))


def test_a_declared_length_agrees() -> None:
    check_length((), 5)
    check_length(((b"content-length", b"5"),), 5)
    with pytest.raises(BhttpError, match="disagrees"):
        check_length(((b"content-length", b"5"),), 4)


def test_lines_are_lengths_and_bytes() -> None:
    assert encode_lines(((b"a", b"bc"), (b"de", b""))) == b"\x01a\x02bc\x02de\x00"
    assert field_names(((b"a", b"secret"), (b"b", b"secret"))) == "a b"
