from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest

from mitai_enclave import log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    root, ours = logging.getLogger(), logging.getLogger("mitai_enclave")
    before = root.handlers[:], root.level, ours.level
    stream = io.StringIO()
    log.configure(stream)
    yield stream
    root.handlers[:], level, ours_level = before[0], before[1], before[2]
    root.setLevel(level)
    ours.setLevel(ours_level)


def test_an_event_is_one_json_line(output: io.StringIO) -> None:
    log.emit("engine_healthy", attempt=1, seconds=3.5, reason=None)
    (line,) = output.getvalue().splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("Z")
    assert found == {"level": "info", "event": "engine_healthy", "attempt": 1, "seconds": 3.5}


def test_a_field_that_is_not_allowed_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="prompt"):
        log.emit("x", prompt="secret")


def test_threat_16_the_text_of_other_libraries_never_shows(output: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError("secret-7731")

    try:
        fail()
    except ValueError:
        logging.getLogger("uvicorn.error").exception("Exception in request %s", "secret-7731")
    logging.getLogger("asyncio").error("secret-7731")
    logging.getLogger("uvicorn.error").info("shown only from warning on")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert "7731" not in output.getvalue()
    assert [line["logger"] for line in lines] == ["uvicorn.error", "asyncio"]
    assert lines[0]["error"] == "ValueError"
