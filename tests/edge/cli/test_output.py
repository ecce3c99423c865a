"""What a hostile file name, document, model or enclave may do to the terminal: nothing."""

from __future__ import annotations

import pytest
from rich.text import Text

from mitai.cli.output import printable, safe

CLIPBOARD = "a\x1b]52;c;ZXZpbA==\x1b\\b.txt"


@pytest.mark.parametrize("text", [CLIPBOARD, "\x1b[2Jgone", "\x9b2J", "bell\x07", "back\x08space", "\x7f", "cr\rover"])
def test_threat_36_no_control_sequence_reaches_the_terminal(text: str) -> None:
    for shown in (printable(text), safe(text)):
        assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)
        assert "\ufffd" in shown


@pytest.mark.parametrize("character", ["\u202e", "\u2066", "\u200f", "\ud800"])
def test_direction_overrides_and_lone_surrogates_are_replaced(character: str) -> None:
    assert printable(f"cod{character}.exe") == "cod\ufffd.exe"


@pytest.mark.parametrize("text", ["年假有二十七天。", "員工\t十五天\n", "naïve café – “quoted” 🙂"])
def test_ordinary_text_of_every_script_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_markup_is_not_taken_for_markup() -> None:
    assert Text.from_markup(safe("[bold]x[/bold] [link=https://example.test]y[/link]")).spans == []
