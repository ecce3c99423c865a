from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.labels import (
    DEFAULT_REQUEST_BYTES,
    LARGEST_CLASS_BYTES,
    MAX_PADDED_BYTES,
    MAX_REQUEST_BYTES,
    MIN_ANSWER_BYTES,
)
from mitai_crypto.padding import answer_class, power_of_two, request_class, request_floor

SIZES = st.integers(0, MAX_REQUEST_BYTES)


def is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0


@given(SIZES)
def test_the_power_is_the_smallest_one(size: int) -> None:
    found = power_of_two(size)
    assert is_power_of_two(found)
    assert found >= size
    assert found == 1 or found // 2 < size


@given(SIZES)
def test_a_class_holds_its_request_and_there_are_few(size: int) -> None:
    found = request_class(size)
    assert found >= max(size, DEFAULT_REQUEST_BYTES)
    assert is_power_of_two(found) or found == LARGEST_CLASS_BYTES or size > LARGEST_CLASS_BYTES


def test_threat_18_everything_up_to_the_floor_has_one_class() -> None:
    assert {request_class(size, 32_768) for size in range(0, 32_769, 97)} == {32_768}
    assert request_class(32_769, 32_768) == 65_536


def test_the_largest_classes() -> None:
    assert request_class(MAX_PADDED_BYTES) == MAX_PADDED_BYTES
    assert request_class(MAX_PADDED_BYTES + 1) == LARGEST_CLASS_BYTES
    assert request_class(LARGEST_CLASS_BYTES + 1) == LARGEST_CLASS_BYTES + 1


def test_the_floor_of_a_token_budget() -> None:
    assert request_floor(8192 - 256) == 32_768
    assert request_floor(0) == 1024
    assert request_floor(10**9) == MAX_PADDED_BYTES


@given(st.integers(0, 16 * 1024 * 1024))
def test_a_whole_answer_is_at_least_the_least(size: int) -> None:
    found = answer_class(size, MIN_ANSWER_BYTES)
    assert found >= max(size, MIN_ANSWER_BYTES)
    assert is_power_of_two(found)
