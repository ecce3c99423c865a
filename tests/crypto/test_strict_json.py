from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto import strict_json
from mitai_crypto.errors import EvidenceError, PolicyError
from mitai_crypto.labels import MAX_JSON_DEPTH, MAX_JSON_INTEGER, MAX_JSON_VALUES
from mitai_crypto.strict_json import encode_canonical, holds_too_many, parse_canonical, parse_object

TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_JSON_INTEGER, MAX_JSON_INTEGER)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.text(st.characters(codec="utf-8")), TREES, max_size=4)


def parse(data: bytes, **arguments: object) -> dict[str, object]:
    return parse_object(data, max_bytes=10_000, **arguments)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'"text"',
        b"null",
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":1,"a":1}',
        b'{"b":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1.0}',
        b'{"a":1e3}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":01}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\\ud800"}',
        b'{"\\udfff":1}',
        b'{"a":"\x01"}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1//\n}',
    ],
    ids=lambda data: repr(data)[:30],
)
def test_refuses(data: bytes) -> None:
    with pytest.raises(EvidenceError):
        parse(data)


def test_the_callers_error_class_is_used() -> None:
    with pytest.raises(PolicyError):
        parse(b"[]", error=PolicyError)


def test_size_is_checked_first() -> None:
    with pytest.raises(EvidenceError, match="over the limit of 3"):
        parse_object(b"noise", max_bytes=3)


def test_depth_is_capped_at_the_number_in_the_labels() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert parse(nested(MAX_JSON_DEPTH))
    with pytest.raises(EvidenceError, match="nested"):
        parse(nested(MAX_JSON_DEPTH + 1))
    with pytest.raises(EvidenceError, match="nested"):
        parse_object(b'{"a":' + b"[" * 200_000, max_bytes=1_000_000)


def test_floats_only_when_asked() -> None:
    assert parse(b'{"a":0.5}', floats=True) == {"a": 0.5}
    with pytest.raises(EvidenceError):
        parse(b'{"a":1e999}', floats=True)
    with pytest.raises(EvidenceError):
        parse(b'{"a":NaN}', floats=True)


def test_a_surrogate_pair_is_text() -> None:
    assert parse(b'{"a":"\\ud83d\\ude00"}') == {"a": "😀"}


def test_canonical_form_is_exact() -> None:
    assert encode_canonical({"b": [1, True, None], "a": "密态\n"}) == '{"a":"密态\\n","b":[1,true,null]}'.encode()
    for spelling in (b'{"b":1,"a":2}', b'{ "a":2}', b'{"a":2}\n', b'{"\\u0061":2}', b'{"a":-0}'):
        with pytest.raises(EvidenceError, match="canonical"):
            parse_canonical(spelling, max_bytes=100)


@given(OBJECTS)
def test_canonical_round_trip(value: dict[str, object]) -> None:
    data = encode_canonical(value)
    assert parse_canonical(data, max_bytes=len(data)) == value
    assert json.loads(data) == value


@given(st.binary())
def test_arbitrary_bytes_raise_only_our_error(data: bytes) -> None:
    try:
        parse(data, floats=True)
    except EvidenceError:
        return
    assert isinstance(json.loads(data), dict)


def test_threat_20_the_number_of_values_is_capped() -> None:
    # Depth 1 is the object, then the list: what remains are its items.
    allowed = MAX_JSON_VALUES - 3
    assert len(parse_object(b'{"a":[' + b"0," * (allowed - 1) + b"0]}", max_bytes=2**22)["a"]) == allowed
    with pytest.raises(EvidenceError, match="too many values"):
        parse_object(b'{"a":[' + b"0," * allowed + b"0]}", max_bytes=2**22)


def count(value: object) -> int:
    """Count names and values one by one."""
    if isinstance(value, list):
        return 1 + sum(count(entry) for entry in value)
    if isinstance(value, dict):
        return 1 + sum(1 + count(entry) for entry in value.values())
    return 1


@given(value=OBJECTS, spread=st.booleans())
def test_values_are_counted_before_parsing_as_exactly_as_after(value: dict[str, object], *, spread: bool) -> None:
    text = json.dumps(value, ensure_ascii=spread, indent=1 if spread else None).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strict_json, "MAX_JSON_VALUES", count(value))
        assert not holds_too_many(text)
        patch.setattr(strict_json, "MAX_JSON_VALUES", count(value) - 1)
        assert holds_too_many(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":[' + b"1," * MAX_JSON_VALUES + b"1]}",
        b'{"a":[' + b'"",' * MAX_JSON_VALUES + b"1]}",
        b'{"a":[' + b"[]," * MAX_JSON_VALUES + b"1]}",
        b'{"a":{' + b'"x":1,' * MAX_JSON_VALUES + b'"x":1}}',
        b"[" * 2 * MAX_JSON_VALUES,
    ],
    ids=["numbers", "texts", "lists", "members", "open lists"],
)
def test_threat_20_too_many_values_are_refused_before_one_is_built(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(strict_json.json, "loads", parsed)
    with pytest.raises(EvidenceError, match="too many values"):
        parse_object(text, max_bytes=len(text))


def test_marks_inside_of_texts_are_no_values() -> None:
    text = json.dumps({"csv": 'a,b:[{"\\' * MAX_JSON_VALUES, "代码": "，。" * 1000}).encode()
    assert parse_object(text, max_bytes=len(text))["csv"]
