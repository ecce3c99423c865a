"""Memory of what was admitted: bounded, and never forgetting an entry to make room for another."""

from __future__ import annotations

from collections import deque
from typing import Final

from mitai_enclave.errors import RequestRefused

# A resend may be sealed to the next epoch's key, which opens for one epoch more: the second after the execution.
_REMEMBERED_EPOCHS: Final = 3


class BoundedSet:
    """A set that refuses to grow past its capacity.

    Evicting would let whoever sends enough requests buy a replay of an old one, so there is no eviction: the
    whole set is dropped together with what it protects.

    Args:
        capacity: The most entries it takes.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: set[bytes] = set()

    def __contains__(self, entry: bytes) -> bool:
        return entry in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def verify_room(self) -> None:
        """Check that one more entry fits.

        Raises:
            RequestRefused: 503, it is full.
        """
        if len(self._entries) >= self._capacity:
            raise RequestRefused(503, "replay_set_full", "Too many requests in this key epoch; try again later.")

    def add(self, entry: bytes) -> None:
        """Remember `entry`; the caller has checked for room."""
        self._entries.add(entry)


class ExecutionMemory:
    """Which (principal, request id) pairs ran in this epoch and in the two before it.

    Args:
        capacity: The most pairs of one epoch.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._epochs = deque([BoundedSet(capacity)], maxlen=_REMEMBERED_EPOCHS)

    def rotate(self) -> None:
        """Begin a new epoch: the pairs of the third before it are forgotten."""
        self._epochs.append(BoundedSet(self._capacity))

    def verify_new(self, pair: bytes) -> None:
        """Check that `pair` did not run and can be remembered.

        Raises:
            RequestRefused: 400, it ran already; 503, no room to remember it.
        """
        if any(pair in epoch for epoch in self._epochs):
            raise RequestRefused(400, "repeated_request", "This request id was already executed.")
        self._epochs[-1].verify_room()

    def add(self, pair: bytes) -> None:
        """Remember `pair`, which `verify_new` let pass."""
        self._epochs[-1].add(pair)
