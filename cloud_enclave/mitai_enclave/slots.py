"""How many at one time? Slots that are taken, held while something lasts, and given back once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Slot:
    """A place that is held; `with slot:` gives it back at the end.

    Args:
        give_back: Called once, whenever the slot is released first.
    """

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def release(self) -> None:
        """Give the place back; nothing happens the second time."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()

    def __enter__(self) -> None:
        """Hold the slot."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Slots:
    """At most `width` places.

    Args:
        width: How many; may be 0.
    """

    def __init__(self, width: int) -> None:
        self._free = width

    @property
    def is_full(self) -> bool:
        """Whether nobody more fits."""
        return self._free <= 0

    def take(self) -> Slot | None:
        """Take a place; None when there is none."""
        if self.is_full:
            return None
        self._free -= 1
        return Slot(self._give_back)

    def _give_back(self) -> None:
        self._free += 1
