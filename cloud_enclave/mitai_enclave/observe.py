"""Why did the answer end, and what did it use? Read in passing from what the engine sends."""

from __future__ import annotations

import json
from typing import Final

from mitai_crypto.receipt import Usage

_FINISH_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyz_")
_MAX_FINISH: Final = 32
_MAX_LINE: Final = 1024 * 1024  # an event longer than this is not looked into
_MAX_COUNT: Final = 2**53 - 1

ERROR: Final = "error"
COMPLETE: Final = "complete"


class Observer:
    """Collects finish reason and usage of one answer.

    Attributes:
        usage: The last usage that the engine named.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._finish: str | None = None
        self._failed = False
        self._tail = b""
        self._skipping = False

    @property
    def finish(self) -> str | None:
        """The finish reason of choice 0, `error` after an error event, None if there was none."""
        return ERROR if self._failed else self._finish

    def feed_events(self, data: bytes) -> None:
        """Look into a piece of a server-sent event stream, wherever it was cut."""
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        for line in lines:
            if self._skipping:
                self._skipping = False
            elif line.startswith(b"data:"):
                self._look(line[5:])
        if len(self._tail) > _MAX_LINE:
            self._skipping, self._tail = True, b""

    def feed_document(self, document: bytes) -> None:
        """Look into a whole JSON answer."""
        self._look(document)

    def _look(self, text: bytes) -> None:
        try:
            value: object = json.loads(text)
        except (ValueError, RecursionError):
            return  # `[DONE]`, or nothing that the receipt can use
        if not isinstance(value, dict):
            return
        if value.get("error") is not None or value.get("object") == ERROR:
            self._failed = True
        self._look_for_usage(value.get("usage"))
        choices = value.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                if isinstance(choice, dict) and choice.get("index", 0) == 0:
                    self._look_for_finish(choice.get("finish_reason"))

    def _look_for_finish(self, reason: object) -> None:
        if isinstance(reason, str) and 0 < len(reason) <= _MAX_FINISH and _FINISH_CHARACTERS.issuperset(reason):
            self._finish = reason

    def _look_for_usage(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        counts = [usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)]
        if all(type(count) is int and 0 <= count <= _MAX_COUNT for count in counts):
            self.usage = Usage(*counts)
