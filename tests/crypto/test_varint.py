from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitai_crypto.errors import ChannelError
from mitai_crypto.varint import MAX_VARINT, encode_varint, read_varint

RFC_9000_EXAMPLES = {
    "c2197c5eff14e88c": 151_288_809_941_952_652,
    "9d7f3e7d": 494_878_333,
    "7bbd": 15_293,
    "25": 37,
}


@pytest.mark.parametrize(("encoded", "value"), RFC_9000_EXAMPLES.items())
def test_examples_of_rfc_9000(encoded: str, value: int) -> None:
    assert encode_varint(value).hex() == encoded
    assert read_varint(bytes.fromhex(encoded), 0) == (value, len(encoded) // 2)


@pytest.mark.parametrize("encoded", ["4025", "80000025", "c000000000000025"])
def test_longer_forms_than_necessary_are_read(encoded: str) -> None:
    assert read_varint(bytes.fromhex(encoded), 0) == (37, len(encoded) // 2)


@given(value=st.integers(0, MAX_VARINT), before=st.binary(max_size=9), after=st.binary(max_size=9))
@settings(max_examples=200, deadline=None)
def test_reading_what_was_written_gives_the_value_and_where_it_ends(value: int, before: bytes, after: bytes) -> None:
    encoded = encode_varint(value)
    assert read_varint(before + encoded + after, len(before)) == (value, len(before) + len(encoded))


@pytest.mark.parametrize("boundary", [2**6, 2**14, 2**30])
def test_the_shortest_form_is_written(boundary: int) -> None:
    assert len(encode_varint(boundary)) == 2 * len(encode_varint(boundary - 1))


@given(value=st.integers(0, MAX_VARINT))
@settings(max_examples=50, deadline=None)
def test_every_cut_asks_for_more(value: int) -> None:
    encoded = encode_varint(value)
    assert all(read_varint(encoded[:cut], 0) is None for cut in range(len(encoded)))


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_what_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ChannelError):
        encode_varint(value)
