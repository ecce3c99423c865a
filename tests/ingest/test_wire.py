from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_ingest import errors, wire
from mitai_ingest.errors import LoadError, ParserCrashed
from mitai_ingest.fragment import Fragment, Parsed
from mitai_ingest.limits import MAX_TEXT_CHARS

GOOD = {"media_type": "text/plain", "title": "t", "fragments": [["heading", 1, None, "x"], ["paragraph", 0, 3, "y"]]}


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


@given(st.binary(max_size=300))
def test_a_frame_comes_back(payload: bytes) -> None:
    stream = io.BytesIO()
    wire.write_frame(stream, payload)
    assert wire.read_frame(io.BytesIO(stream.getvalue())) == payload


@pytest.mark.parametrize("cut", [0, 3, 5])
def test_a_cut_frame_is_an_end(cut: int) -> None:
    with pytest.raises(EOFError):
        wire.read_frame(io.BytesIO(b"\x00\x00\x00\x02ab"[:cut]))


def test_threat_20_a_frame_over_the_cap_is_not_read() -> None:
    with pytest.raises(ParserCrashed, match="4294967295 bytes"):
        wire.read_frame(io.BytesIO(b"\xff" * 4))


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_FRAGMENTS = st.one_of(
    st.builds(
        Fragment, st.sampled_from(["paragraph", "list", "table", "code"]), _TEXTS, page=st.none() | st.integers(1, 9)
    ),
    st.builds(Fragment, st.just("heading"), _TEXTS, level=st.integers(1, 9)),
)


@given(st.builds(Parsed, _TEXTS, st.lists(_FRAGMENTS, max_size=4).map(tuple)))
def test_an_answer_comes_back(parsed: Parsed) -> None:
    assert wire.parse_answer(wire.encode_parsed("text/html", parsed)) == ("text/html", parsed)


def test_a_request_comes_back_with_time_rounded_up() -> None:
    assert wire.parse_request(wire.encode_request(".pdf", 0.2)) == (".pdf", 1)
    assert wire.parse_request(wire.encode_request("", 60)) == ("", 60)


@pytest.mark.parametrize("confined", [True, False])
def test_ready_comes_back(confined: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert wire.parse_ready(wire.encode_ready(confined=confined)) is confined


@pytest.mark.parametrize("payload", [b"", b"[]", b'{"confined":1}', b'{"confined":true,"x":1}', b'{"confined":true}x'])
def test_ready_is_read_strictly(payload: bytes) -> None:
    with pytest.raises(ParserCrashed):
        wire.parse_ready(payload)


@pytest.mark.parametrize(
    "change",
    [
        {"media_type": "text/evil"},
        {"media_type": 1},
        {"title": None},
        {"title": "\ud800"},
        {"extra": 1},
        {"fragments": {}},
        {"fragments": [["paragraph", 0, None]]},
        {"fragments": [["paragraph", 0, None, 1]]},
        {"fragments": [["paragraph", 0, None, "\udfff"]]},
        {"fragments": [["script", 0, None, "x"]]},
        {"fragments": [["heading", 0, None, "x"]]},
        {"fragments": [["heading", 10, None, "x"]]},
        {"fragments": [["paragraph", 1, None, "x"]]},
        {"fragments": [["paragraph", -1, None, "x"]]},
        {"fragments": [["paragraph", False, None, "x"]]},
        {"fragments": [["paragraph", 0, 0, "x"]]},
        {"fragments": [["paragraph", 0, "1", "x"]]},
        {"fragments": [["paragraph", 0, 1.5, "x"]]},
    ],
)
def test_an_answer_is_read_strictly(change: dict[str, object]) -> None:
    assert wire.parse_answer(encode(GOOD))[0] == "text/plain"
    with pytest.raises(ParserCrashed):
        wire.parse_answer(encode(GOOD | change))


def test_an_answer_without_a_field_is_refused() -> None:
    for name in GOOD:
        with pytest.raises(ParserCrashed):
            wire.parse_answer(encode({key: value for key, value in GOOD.items() if key != name}))


def test_too_much_text_is_refused() -> None:
    half = ["paragraph", 0, None, "x" * (MAX_TEXT_CHARS // 2 + 1)]
    assert wire.parse_answer(encode(GOOD | {"fragments": [half]}))
    with pytest.raises(ParserCrashed, match="length"):
        wire.parse_answer(encode(GOOD | {"fragments": [half, half]}))


@pytest.mark.parametrize("kind", list(wire._ERRORS.values()))
def test_an_error_comes_back(kind: type[LoadError]) -> None:
    with pytest.raises(kind) as raised:
        wire.parse_answer(wire.encode_error(kind("what", hint="how")))
    assert (type(raised.value), str(raised.value), raised.value.hint) == (kind, "what", "how")


def test_a_message_cannot_paint_the_terminal_or_flood_it() -> None:
    payload = wire.encode_error(errors.DamagedDocument("\x1b]0;owned\x07a\nb" + "x" * 5000))
    with pytest.raises(errors.DamagedDocument) as raised:
        wire.parse_answer(payload)
    assert str(raised.value).startswith("]0;owneda b")
    assert len(str(raised.value)) == 300


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "SystemExit", "message": "x", "hint": ""},
        {"error": "ParserTimeout", "message": "x", "hint": ""},
        {"error": "DamagedDocument", "message": 1, "hint": ""},
        {"error": "DamagedDocument", "message": "x"},
        {"error": ["DamagedDocument"], "message": "x", "hint": ""},
    ],
)
def test_an_error_is_read_strictly(answer: object) -> None:
    with pytest.raises(ParserCrashed):
        wire.parse_answer(encode(answer))


@pytest.mark.parametrize("payload", [b"{}", b'{"suffix":1,"seconds":1}', b'{"suffix":"","seconds":-1}'])
def test_a_request_is_read_strictly(payload: bytes) -> None:
    with pytest.raises(ParserCrashed):
        wire.parse_request(payload)
