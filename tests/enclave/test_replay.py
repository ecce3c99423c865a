from __future__ import annotations

import pytest

from mitai_enclave.errors import RequestRefused
from mitai_enclave.replay import BoundedSet, ExecutionMemory


def test_a_bounded_set_holds_what_it_took_and_refuses_more() -> None:
    found = BoundedSet(1)
    found.verify_room()
    found.add(b"a")
    assert b"a" in found
    assert len(found) == 1
    with pytest.raises(RequestRefused):
        found.verify_room()
    assert b"a" in found


def test_threat_41_an_execution_is_remembered_for_two_rotations_and_forgotten_with_the_third() -> None:
    memory = ExecutionMemory(10)
    memory.verify_new(b"pair")
    memory.add(b"pair")
    for _ in range(2):
        memory.rotate()
        with pytest.raises(RequestRefused):
            memory.verify_new(b"pair")
    memory.rotate()
    memory.verify_new(b"pair")
