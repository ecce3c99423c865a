"""What may be written to the log? Named events with fields from an allow-list, as JSON lines.

Records of other libraries are reduced to logger, level and exception type: their text may quote a request.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

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

_LOGGER: Final = logging.getLogger("mitai_enclave")
_MAX_VALUE = 200


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
    _LOGGER.log(level, event, extra={"mitai_fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a record; foreign records lose their text."""

    def format(self, record: logging.LogRecord) -> str:
        """Render `record` without anything that is not ours."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
        }
        fields = getattr(record, "mitai_fields", None)
        if record.name == _LOGGER.name and isinstance(fields, dict):
            line["event"] = str(record.msg)
            line.update({name: _short(value) for name, value in fields.items() if value is not None})
        else:
            line["event"] = "foreign_record"
            line["logger"] = record.name
            if record.exc_info and record.exc_info[0]:
                line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=True)


def _short(value: object) -> object:
    return value[:_MAX_VALUE] if isinstance(value, str) else value


def configure(stream: TextIO) -> None:
    """Send every record of this process to `stream` through `JsonFormatter`.

    Our own events are shown from INFO, those of other libraries from WARNING.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(logging.INFO)
