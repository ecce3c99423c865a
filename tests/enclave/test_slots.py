from __future__ import annotations

import pytest

from mitai_enclave.slots import Slots


def test_so_many_get_in_and_failures_are_counted_out() -> None:
    slots = Slots(1)

    def fail() -> None:
        slot = slots.take()
        assert slot is not None
        with slot:
            assert slots.is_full
            assert slots.take() is None
            raise ValueError("inside")

    for _ in range(3):
        with pytest.raises(ValueError, match="inside"):
            fail()
        assert not slots.is_full


def test_a_slot_is_given_back_once() -> None:
    slots = Slots(1)
    first = slots.take()
    assert first is not None
    first.release()
    second = slots.take()
    first.release()
    assert slots.is_full
    assert second is not None


def test_no_width_lets_nobody_in() -> None:
    assert Slots(0).take() is None
