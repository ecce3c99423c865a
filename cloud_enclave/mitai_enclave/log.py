"""What may be written to the log? Named events with fields from an allow-list, as JSON lines.

structlog renders them; nothing here touches its global configuration. Records of other libraries are reduced to
logger, level and exception type: their text may quote a request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, cast

import structlog
from structlog.stdlib import ProcessorFormatter

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, WrappedLogger

FIELDS: Final = frozenset(
    {
        "attempt",  # which start of the engine this is
        "engine",  # vllm or external
        "error",  # name of an exception class, never its text
        "exit_code",
        "gateway",  # the listener's own URL
        "key_id",
        "metrics",
        "model_digest",
        "path_kind",  # what holds the runtime folder: memory or disk
        "pid",
        "reason",  # a constant of this program
        "seconds",
        "tee",
    }
)
"""Every field an event may carry. None can hold a byte of a request."""

_NAME: Final = "mitai_enclave"
_MAX_VALUE: Final = 200
_FOREIGN: Final = "foreign_record"


def emit(event: str, *, level: int = logging.INFO, **fields: str | float | None) -> None:
    """Log one event.

    Args:
        event: Constant name of what happened.
        level: A level of the standard library.
        **fields: Values for names in `FIELDS`.

    Raises:
        ValueError: A field is not on the allow-list.
    """
    unknown = fields.keys() - FIELDS
    if unknown:
        raise ValueError(f"not on the log's allow-list: {', '.join(sorted(unknown))}")
    _LOGGER.log(level, event, **{name: value for name, value in fields.items() if value is not None})


def configure(stream: TextIO) -> None:
    """Send every record of this process to `stream`, one JSON object a line.

    Our own events are shown from INFO, those of other libraries from WARNING.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[_reduce_foreign],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%SZ", utc=True, key="time"),
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
            use_get_message=False,  # formatting a foreign text could fail, and it is thrown away anyhow
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_NAME).setLevel(logging.INFO)


def _reduce_foreign(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Keep who logged, how loudly, and the type of the exception."""
    record = cast("logging.LogRecord", event["_record"])
    kept: EventDict = {
        "level": method,
        "event": _FOREIGN,
        "logger": record.name,
        "_record": record,
        "_from_structlog": False,
    }
    if record.exc_info and record.exc_info[0]:
        kept["error"] = record.exc_info[0].__name__
    return kept


def _shorten(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value[:_MAX_VALUE] if isinstance(value, str) else value for name, value in event.items()}


_LOGGER: Final[structlog.stdlib.BoundLogger] = structlog.wrap_logger(
    logging.getLogger(_NAME),
    processors=[_shorten, structlog.stdlib.add_log_level, ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
)
