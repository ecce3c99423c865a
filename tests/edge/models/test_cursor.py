from __future__ import annotations

import pytest

from mitai.models.cursor import Cursor
from mitai.models.errors import ModelDataError


def test_values_come_one_after_the_other() -> None:
    cursor = Cursor(memoryview(b"\x01\x02\x00" + "密".encode() + b"rest"))
    assert (cursor.integer("B"), cursor.integer("H"), cursor.text(3)) == (1, 2, "密")
    assert (bytes(cursor.take(4)), cursor.position) == (b"rest", 10)


@pytest.mark.parametrize("count", [-1, 4, 2**63])
def test_nothing_is_read_outside_the_buffer(count: int) -> None:
    cursor = Cursor(memoryview(b"abc"))
    with pytest.raises(ModelDataError, match="ends inside"):
        cursor.take(count)


def test_a_start_behind_the_end_reads_nothing() -> None:
    with pytest.raises(ModelDataError):
        Cursor(memoryview(b"abc"), 5).take(0)


def test_text_must_be_utf_8() -> None:
    with pytest.raises(ModelDataError, match="UTF-8"):
        Cursor(memoryview(b"\xe5\xaf")).text(2)
