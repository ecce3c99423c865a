from __future__ import annotations

import pytest

from mitai_crypto.errors import EvidenceError, PolicyError
from mitai_crypto.fields import Fields


def fields(**values: object) -> Fields:
    return Fields(values, where="thing")


@pytest.mark.parametrize(
    ("method", "good", "bad"),
    [
        ("integer", [0, 5], [-1, 1.0, "1", None, True, 2**53]),
        ("flag", [True, False], [0, 1, "true", None]),
        ("name", ["密态", "a" * 200], ["", "a" * 201, "a\nb", "\x1b[0m", "\u202e", 5, None]),
        ("text", ["", "a\nb"], [5, None, "a" * 4097]),
        ("digest", ["ab" * 32], ["AB" * 32, "ab" * 31, "ab" * 33, "xy" * 32, "", 5, None, "0x" + "ab" * 31]),
        ("base64", ["", "YQ=="], ["YQ", "YR==", "YQ==\n", "Y Q==", "-_==", 5, None]),
    ],
)
def test_typed_fields(method: str, good: list[object], bad: list[object]) -> None:
    for value in good:
        assert getattr(fields(x=value), method)("x") is not None
    for value in bad:
        with pytest.raises(EvidenceError, match=r"thing\.x must be"):
            getattr(fields(x=value), method)("x")


def test_a_missing_field_is_named() -> None:
    with pytest.raises(EvidenceError, match="thing has no field 'x'"):
        fields().integer("x")


def test_a_left_over_field_is_named() -> None:
    with pytest.raises(EvidenceError, match="unknown field 'y'") as caught:
        fields(y=1).finish()
    assert caught.value.hint


def test_what_is_no_object_is_refused_with_the_callers_error() -> None:
    with pytest.raises(PolicyError, match="thing is not an object"):
        Fields([], where="thing", error=PolicyError)


def test_inner_objects_know_their_path() -> None:
    with pytest.raises(EvidenceError, match=r"thing\.inner\.x"):
        fields(inner={"x": "no"}).inner("inner").integer("x")


def test_null_is_taken_only_when_it_is_null() -> None:
    taken = fields(x=None)
    assert taken.null("x")
    taken.finish()
    kept = fields(x=1)
    assert not kept.null("x")
    assert kept.integer("x") == 1
    assert not kept.null("y")


def test_arrays_are_bounded() -> None:
    assert fields(x=[1]).array("x", most=1) == [1]
    for value in ([], [1, 2], (1,), "a", None):
        with pytest.raises(EvidenceError):
            fields(x=value).array("x", most=1)


def test_a_version_must_be_ours() -> None:
    fields(v=1).version("v", 1)
    with pytest.raises(EvidenceError, match=r"thing\.v must be 1"):
        fields(v=2).version("v", 1)
