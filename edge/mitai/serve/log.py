"""What is logged of a request? Its route, status and a class of its duration (`docs/spec/serve.md` §7)."""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, Processor, WrappedLogger

FIELDS: Final = frozenset({"route", "status", "took", "kind", "broken", "error", "reason"})
"""Every field an event may carry: constants, numbers and names of classes of this program."""

_CLASSES: Final = ((0.1, "<100ms"), (1.0, "<1s"), (10.0, "<10s"), (60.0, "<60s"))


class LogFormat(StrEnum):
    """How a line looks."""

    HUMAN = "human"
    JSON = "json"


class ServeLog:
    """The log of one endpoint.

    Args:
        stream: Where it goes.
        form: For people or for programs.
    """

    def __init__(self, stream: TextIO, form: LogFormat = LogFormat.HUMAN) -> None:
        last: Processor = (
            structlog.processors.JSONRenderer()
            if form is LogFormat.JSON
            else structlog.dev.ConsoleRenderer(colors=stream.isatty(), pad_event_to=8)
        )
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                _only_known_fields,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper("iso"),
                last,
            ],
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=True,
        )

    def emit(self, event: str, **fields: str | int | bool) -> None:
        """Write one event.

        Raises:
            ValueError: A field is not in `FIELDS`.
        """
        self._log.info(event, **fields)


def duration_class(seconds: float) -> str:
    """Return the class of a duration: how long an answer is shows in its exact time."""
    return next((name for limit, name in _CLASSES if seconds < limit), ">=60s")


def silence_libraries() -> None:
    """Keep the records of other libraries out of every stream: their text may quote a request."""
    logging.getLogger().addHandler(logging.NullHandler())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _only_known_fields(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    del logger, method
    unknown = event.keys() - FIELDS - {"event"}
    if unknown:
        raise ValueError(f"not on the log's allow-list: {', '.join(sorted(unknown))}")
    return event
