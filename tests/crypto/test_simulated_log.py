from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_crypto.errors import EvidenceError
from mitai_crypto.simulated_log import Event, parse_event, replay

DIGEST = hashlib.sha256(b"").hexdigest()
EVENTS = st.builds(
    Event,
    register=st.integers(0, 3),
    kind=st.text("ab", min_size=1, max_size=3),
    name=st.text("ab密", max_size=3),
    digest=st.sampled_from([DIGEST, "00" * 32]),
)
LOGS = st.lists(EVENTS, max_size=4)


def test_registers_are_the_formula_of_the_specification() -> None:
    def prefixed(data: bytes) -> bytes:
        return len(data).to_bytes(8, "big") + data

    event = Event(2, "file", "应用.py", DIGEST)
    parts = prefixed(b"file") + prefixed("应用.py".encode()) + prefixed(bytes.fromhex(DIGEST))
    extension = hashlib.sha384(b"mitai/simulated-event/v1\0\x02" + parts).digest()
    assert event.extension == extension
    assert replay([event]) == {
        "r0": "00" * 48,
        "r1": "00" * 48,
        "r2": hashlib.sha384(bytes(48) + extension).hexdigest(),
        "r3": "00" * 48,
    }


def by_register(log: list[Event]) -> list[list[Event]]:
    return [[event for event in log if event.register == register] for register in range(4)]


@given(LOGS, LOGS)
def test_threat_31_different_logs_give_different_registers(one: list[Event], other: list[Event]) -> None:
    assert (replay(one) == replay(other)) == (by_register(one) == by_register(other))


@given(st.text("ab", min_size=1, max_size=4), st.text("ab", max_size=4), st.integers(1, 7))
def test_threat_31_kind_and_name_cannot_trade_bytes(kind: str, name: str, move: int) -> None:
    joined = kind + name
    moved = Event(0, joined[:move], joined[move:], DIGEST)
    plain = Event(0, kind, name, DIGEST)
    assert (moved.extension == plain.extension) == (moved == plain)


@given(EVENTS)
def test_round_trip(event: Event) -> None:
    assert parse_event(event.to_json()) == event


@pytest.mark.parametrize(
    "change",
    [
        {"register": 4},
        {"register": -1},
        {"kind": ""},
        {"name": 5},
        {"digest": "00"},
        {"digest": None},
        {"extra": 1},
    ],
)
def test_malformed_events_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(EvidenceError):
        parse_event({"register": 0, "kind": "file", "name": "a", "digest": DIGEST} | change)
    with pytest.raises(EvidenceError):
        parse_event(None)
