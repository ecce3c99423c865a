"""What is logged: known fields only, for people or for programs."""

from __future__ import annotations

import io
import json

import pytest

from mitai.serve.log import LogFormat, ServeLog, duration_class


def test_json_lines() -> None:
    lines = io.StringIO()
    ServeLog(lines, LogFormat.JSON).emit("request", route="chat", status=200)
    told = json.loads(lines.getvalue())
    assert (told["event"], told["route"], told["status"], told["level"]) == ("request", "chat", 200, "info")
    assert told["timestamp"].endswith("Z")


def test_lines_for_people() -> None:
    lines = io.StringIO()
    ServeLog(lines).emit("request", route="chat", took="<1s")
    assert "route=chat" in lines.getvalue()
    assert "took=<1s" in lines.getvalue()


@pytest.mark.parametrize("form", LogFormat)
def test_a_field_that_is_not_known_is_never_written(form: LogFormat) -> None:
    lines = io.StringIO()
    with pytest.raises(ValueError, match="allow-list: body"):
        ServeLog(lines, form).emit("request", body="年假")
    assert lines.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "name"), [(0, "<100ms"), (0.1, "<1s"), (1, "<10s"), (59.9, "<60s"), (60, ">=60s"), (1e6, ">=60s")]
)
def test_classes_of_duration(seconds: float, name: str) -> None:
    assert duration_class(seconds) == name
