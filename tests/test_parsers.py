"""Does every parser keep its promise? Its own error for whatever is wrong, and memory in proportion to the input.

The parsers and their seeds are those of `fuzz/`; here they meet random, spoiled and swollen bytes without coverage.
"""

from __future__ import annotations

import sys
import tracemalloc
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
sys.path.append(str(FUZZ))

import target as fuzzing  # noqa: E402 - lies outside the tests

if TYPE_CHECKING:
    from target import Target

NAMES = fuzzing.names()
CONSTANT_BYTES = 512 * 1024  # caches of codecs and regular expressions, error texts
SWOLLEN_BYTES = 32_768


@cache
def target_of(name: str) -> Target:
    return fuzzing.load(name)


@cache
def seeds_of(name: str) -> list[bytes]:
    return target_of(name).seeds()


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> bytes:
    """Change a seed: a slice of it is dropped, or put elsewhere, or replaced."""
    seed = draw(st.sampled_from(seeds_of(name)))
    first = draw(st.integers(0, len(seed)))
    last = draw(st.integers(first, min(len(seed), first + 64)))
    place = draw(st.integers(0, len(seed)))
    filling = draw(st.binary(max_size=8) | st.just(seed[first:last]))
    return draw(st.sampled_from([seed[:first] + filling + seed[last:], seed[:place] + filling + seed[place:]]))


@st.composite
def swollen(draw: st.DrawFn, name: str) -> bytes:
    """Repeat a slice of a seed until it is long."""
    seed = draw(st.sampled_from(seeds_of(name)))
    first = draw(st.integers(0, max(0, len(seed) - 1)))
    last = draw(st.integers(first, min(len(seed), first + 24)))
    unit = seed[first : last + 1] or b"\0"
    size = min(SWOLLEN_BYTES, target_of(name).max_bytes)
    return seed[:first] + unit * (max(0, size - len(seed)) // len(unit)) + seed[first:]


def peak_of(target: Target, data: bytes) -> int:
    tracemalloc.start()
    try:
        target.check(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", NAMES)
def test_the_seeds_reach_what_they_are_for(name: str) -> None:
    accepted = 0
    for seed in seeds_of(name):
        try:
            target_of(name).read(seed)
        except target_of(name).error:
            continue
        accepted += 1
    assert accepted, "no seed is accepted"


@pytest.mark.parametrize("name", NAMES)
def test_threat_20_only_its_own_error_whatever_comes(name: str) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.binary(max_size=200) | spoiled(name))
    @example(b"")
    def check(data: bytes) -> None:
        target_of(name).check(data)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_threat_20_memory_is_in_proportion_to_the_input(name: str) -> None:
    target = target_of(name)
    for seed in seeds_of(name):
        target.check(seed)  # what is made once belongs to no input

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(swollen(name))
    def check(data: bytes) -> None:
        assert peak_of(target, data) <= target.factor * len(data) + CONSTANT_BYTES

    check()
