from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.kem import Kem, load_private_key
from mitai_crypto.labels import MAX_KEY_LIFETIME_SECONDS
from mitai_enclave.epochs import KeyEpochs
from mitai_enclave.errors import KeyExpired, RequestRefused

if TYPE_CHECKING:
    from mitai_crypto.crypto_material import PublishedKey

WALL = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(clock: Clock, *, capacity: int = 100, kems: tuple[Kem, ...] = (Kem.X25519,), prefix: str = "") -> KeyEpochs:
    def describe(keys: tuple[PublishedKey, ...]) -> bytes:
        return b"|".join(key.config.hex().encode() for key in keys)

    return KeyEpochs(
        kems=kems,
        rotation=3600,
        capacity=capacity,
        describe=describe,
        prefix=prefix,
        monotonic=clock,
        wall=lambda: WALL + clock.now - 1000.0,
    )


def test_the_announced_key_becomes_the_current_one() -> None:
    clock = Clock()
    epochs = make(clock)
    first = epochs.current
    announced = bytes.fromhex(first.material.split(b"|")[1].decode())
    clock.now += 3599.9
    assert epochs.current is first
    clock.now += 0.2
    assert epochs.current.epoch.keys[0].config.encode() == announced


def test_lifetimes_are_shown_on_the_wall_clock_and_never_over_the_limit() -> None:
    clock = Clock()
    epochs = make(clock)
    published = epochs.current.epoch.keys[0].published
    assert (published.not_before, published.not_after) == (WALL, WALL + 7200)
    assert published.not_after - published.not_before <= MAX_KEY_LIFETIME_SECONDS
    clock.now += 3600
    following = epochs.current.epoch.keys[0].published
    assert following.not_before == WALL + 3600


def test_the_next_key_opens_nothing_before_its_time() -> None:
    clock = Clock()
    epochs = make(clock)
    next_id = (epochs.current.epoch.keys[0].config.key_id + 1) % 256
    assert epochs.find(next_id) is None
    clock.now += 3600
    assert epochs.find(next_id) is not None


def test_a_retired_key_opens_for_one_more_rotation_and_is_then_gone() -> None:
    clock = Clock()
    epochs = make(clock)
    key_id = epochs.current.epoch.keys[0].config.key_id
    clock.now += 7199
    assert epochs.find(key_id) is not None
    clock.now += 1
    assert epochs.find(key_id) is None


@pytest.mark.parametrize("slept", [7200, 10_000, 10_000_000])
def test_after_a_long_sleep_no_old_key_lives(slept: int) -> None:
    clock = Clock()
    epochs = make(clock)
    old = {key.config.encode() for key in epochs.current.epoch.keys}
    ids = {key.config.key_id for key in epochs.current.epoch.keys}
    clock.now += slept
    assert not old & {key.config.encode() for key in epochs.current.epoch.keys}
    assert all(epochs.find(key_id) is None for key_id in ids)


def test_key_ids_start_anywhere_and_wrap_around() -> None:
    starts = {make(Clock()).current.epoch.keys[0].config.key_id for _ in range(40)}
    assert len(starts) > 10
    clock = Clock()
    epochs = make(clock)
    seen = []
    for _ in range(300):
        seen.append(epochs.current.epoch.keys[0].config.key_id)
        clock.now += 3600
    assert all((b - a) % 256 == 1 for a, b in itertools.pairwise(seen))


def test_all_suites_are_published_current_first() -> None:
    epochs = make(Clock(), kems=(Kem.MLKEM768_X25519, Kem.X25519))
    assert [key.config.kem for key in epochs.current.epoch.keys] == [Kem.MLKEM768_X25519, Kem.X25519]
    assert len({key.config.key_id for key in epochs.current.epoch.keys}) == 2


def admit(epochs: KeyEpochs, enc: bytes, request_id: bytes, principal: str = "alice") -> None:
    epochs.admit(epochs.current, enc, principal, request_id)


def test_threat_02_an_admitted_request_is_not_admitted_again_while_its_key_lives() -> None:
    clock = Clock()
    epochs = make(clock)
    live = epochs.current
    epochs.admit(live, b"enc", "alice", os.urandom(16))
    clock.now += 7199  # retired by now
    with pytest.raises(RequestRefused) as caught:
        epochs.admit(live, b"enc", "alice", os.urandom(16))
    assert (caught.value.status, caught.value.code) == (400, "replayed_request")
    clock.now += 1
    with pytest.raises(KeyExpired):
        epochs.admit(live, b"enc", "alice", os.urandom(16))


def test_threat_41_an_id_is_remembered_for_three_epochs_and_for_each_principal_alone() -> None:
    clock = Clock()
    epochs = make(clock)
    request_id = os.urandom(16)
    admit(epochs, b"1", request_id)
    admit(epochs, b"2", request_id, "bob")
    for step in (0, 3600, 3600):
        clock.now += step
        with pytest.raises(RequestRefused) as caught:
            admit(epochs, os.urandom(4), request_id)
        assert caught.value.code == "repeated_request"
    clock.now += 3600
    admit(epochs, b"3", request_id)


def test_threat_41_a_resend_under_the_next_key_that_comes_an_epoch_late_is_refused() -> None:
    clock = Clock()
    epochs = make(clock)
    request_id = os.urandom(16)
    clock.now += 3500
    admit(epochs, b"1", request_id)
    clock.now += 200
    sealed_to = epochs.current
    clock.now += 3550  # the first epoch's keys are gone, the second's are retired
    with pytest.raises(RequestRefused) as caught:
        epochs.admit(sealed_to, b"2", "alice", request_id)
    assert caught.value.code == "repeated_request"


@pytest.mark.parametrize("slept", [7200, 10_000_000])
def test_threat_41_a_long_sleep_forgets_no_execution(slept: int) -> None:
    clock = Clock()
    epochs = make(clock)
    request_id = os.urandom(16)
    admit(epochs, b"1", request_id)
    clock.now += slept
    with pytest.raises(RequestRefused) as caught:
        admit(epochs, b"2", request_id)
    assert caught.value.code == "repeated_request"


def test_a_refusal_records_nothing() -> None:
    epochs = make(Clock())
    request_id = os.urandom(16)
    admit(epochs, b"1", request_id)
    with pytest.raises(RequestRefused):
        admit(epochs, b"2", request_id)
    admit(epochs, b"2", os.urandom(16))
    fresh = os.urandom(16)
    with pytest.raises(RequestRefused):
        admit(epochs, b"1", fresh)
    admit(epochs, b"3", fresh)


def test_a_full_set_refuses_and_evicts_nothing() -> None:
    epochs = make(Clock(), capacity=2)
    for enc in (b"1", b"2"):
        admit(epochs, enc, os.urandom(16))
    with pytest.raises(RequestRefused) as caught:
        admit(epochs, b"3", os.urandom(16))
    assert (caught.value.status, caught.value.code) == (503, "replay_set_full")
    with pytest.raises(RequestRefused) as caught:
        admit(epochs, b"1", os.urandom(16))
    assert caught.value.code == "replayed_request"


def test_no_private_key_shows_in_a_repr() -> None:
    epochs = make(Clock())
    assert "private" not in repr(epochs.current)
    assert "private" not in repr(epochs.current.epoch.keys[0])


@pytest.mark.parametrize("prefix", ["", "0", "f", "a7"])
def test_threat_30_every_fingerprint_begins_as_the_replicas_do_and_key_ids_still_count_up(prefix: str) -> None:
    clock = Clock()
    epochs = make(clock, kems=(Kem.MLKEM768_X25519, Kem.X25519), prefix=prefix)
    ids = []
    for _ in range(3):
        for key in epochs.current.epoch.keys:
            assert key.config.fingerprint.startswith(prefix)
            ids.append(key.config.key_id)
        clock.now += 3600
    assert all((b - a) % 256 == 1 for a, b in itertools.pairwise(ids))


def test_threat_38_no_seed_shows_in_a_repr_and_each_key_has_its_own() -> None:
    clock = Clock()
    epochs = make(clock, kems=(Kem.MLKEM768_X25519, Kem.X25519))
    clock.now += 3600
    keys = [key for live in epochs.opening for key in live.epoch.keys]
    assert len({key.seed for key in keys}) == 4
    assert not any(repr(key.seed) in repr(key) for key in keys)
    assert [load_private_key(key.config.kem, key.seed).public_bytes for key in keys] == [
        key.config.public_key for key in keys
    ]


def test_the_end_of_the_current_epoch_is_told() -> None:
    clock = Clock()
    epochs = make(clock)
    assert epochs.current_until == 1000 + 3600
    clock.now += 3600
    assert epochs.current_until == 1000 + 7200
    assert len(epochs.opening) == 2
    clock.now += 10_000
    assert len(epochs.opening) == 1
