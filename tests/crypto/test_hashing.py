from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.hashing import count, field_lines, labelled, length_prefixed

FIELDS = st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=3)


def test_forms() -> None:
    assert length_prefixed(b"ab") == bytes(7) + b"\x02ab"
    assert count(258) == bytes(6) + b"\x01\x02"
    assert labelled(b"x").digest() == hashlib.sha256(b"x\0").digest()


@given(FIELDS, FIELDS)
def test_threat_31_field_lines_are_injective(one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]]) -> None:
    assert (field_lines(one) == field_lines(other)) == (one == other)


@given(FIELDS, FIELDS, st.binary(max_size=20), st.binary(max_size=20))
def test_threat_31_what_follows_fields_is_not_a_field(
    one: list[tuple[bytes, bytes]], other: list[tuple[bytes, bytes]], rest: bytes, other_rest: bytes
) -> None:
    assert (field_lines(one) + rest == field_lines(other) + other_rest) == ((one, rest) == (other, other_rest))
