from __future__ import annotations

import pytest

from mitai_crypto.bhttp_cursor import Cursor, Incomplete
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTROL_BYTES, MAX_SECTION_BYTES
from mitai_crypto.varint import encode_varint
from support.bhttp_failures import lines, string

FIELDS = ((b"a", b"b"), (b"c", b""))


@pytest.mark.parametrize("known", [True, False])
def test_both_forms_of_a_section_are_read(known: bool) -> None:  # noqa: FBT001 - a parameter of the table
    section = string(lines(*FIELDS)) if known else lines(*FIELDS) + b"\x00"
    cursor = Cursor(section + b"rest", complete=True)
    assert cursor.section(known_length=known) == FIELDS
    assert cursor.rest() == b"rest"
    assert cursor.available == 0


@pytest.mark.parametrize("known", [True, False])
def test_an_omitted_section_is_empty_only_when_nothing_can_follow(known: bool) -> None:  # noqa: FBT001 - see above
    assert Cursor(b"", complete=True).section(known_length=known) == ()
    with pytest.raises(Incomplete):
        Cursor(b"", complete=False).section(known_length=known)


@pytest.mark.parametrize("known", [True, False])
def test_a_part_of_a_section_is_incomplete(known: bool) -> None:  # noqa: FBT001 - see above
    section = string(lines(*FIELDS)) if known else lines(*FIELDS) + b"\x00"
    for cut in range(1, len(section)):
        with pytest.raises(Incomplete):
            Cursor(section[:cut], complete=True).section(known_length=known)


def test_threat_20_lengths_over_their_caps_are_refused_before_their_bytes_arrive() -> None:
    too_long = encode_varint(MAX_SECTION_BYTES + 1)
    for data, known in ((too_long, True), (too_long, False), (b"\x01a" + too_long, False)):
        with pytest.raises(BhttpError) as failure:
            Cursor(data, complete=False).section(known_length=known)
        assert type(failure.value) is BhttpError
    with pytest.raises(BhttpError) as failure:
        Cursor(encode_varint(MAX_CONTROL_BYTES + 1), complete=False).string()
    assert type(failure.value) is BhttpError


@pytest.mark.parametrize("endless", [lines((b"a", b"")) * 129, lines((b"a", b"b" * 1000)) * 66])
def test_threat_20_a_section_without_end_is_refused_while_it_arrives(endless: bytes) -> None:
    with pytest.raises(BhttpError, match="over its caps") as failure:
        Cursor(endless, complete=False).section(known_length=False)
    assert type(failure.value) is BhttpError


def test_a_line_may_not_run_over_the_end_of_a_known_section() -> None:
    with pytest.raises(BhttpError, match="runs over") as failure:
        Cursor(b"\x03\x01a\x05bcdefgh", complete=False).section(known_length=True)
    assert type(failure.value) is BhttpError
