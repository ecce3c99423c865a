"""What the READMEs and docs/cli.md claim: every command and option they show exists, in both languages alike."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "README.zh-CN.md", "docs/cli.md")
MODULES = {"mitai": "mitai.cli", "mitai-sim": "mitai_sim", "mitai-enclave": "mitai_enclave"}
GROUPS = {("mitai", "kb"), ("mitai", "ledger"), ("mitai", "policy")}


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", MODULES[command[0]], *command[1:], "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "200", "PATH": "", "NO_COLOR": "1"},
    )
    return done.stdout


def shown_commands(page: str) -> list[list[str]]:
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.removeprefix("$ ") for line in text.splitlines()]
    cells = re.findall(r"`((?:mitai|mitai-sim|mitai-enclave) [a-z][^`]*)`", text)
    found = [*cells, *(line.strip() for line in lines if re.match(r"\s*(mitai|mitai-sim|mitai-enclave) [a-z]", line))]
    parts = [re.sub(r'"[^"]*"|#.*', "", command).split() for command in found]
    return [part for words in parts for part in _split_at_dashes(words)]


def _split_at_dashes(words: list[str]) -> list[list[str]]:
    if "--" not in words:
        return [words]
    at = words.index("--")
    return [words[:at], words[at + 1 :]]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_shown_exists(page: str) -> None:
    commands = shown_commands(page)
    assert len(commands) > 5
    for words in commands:
        named = len(words) > 2 and not words[2].startswith("-")  # a group may be called without a verb
        depth = 3 if tuple(words[:2]) in GROUPS and named else 2
        told = help_of(*words[:depth])
        for option in (word for word in words[depth:] if word.startswith("-") and word != "-"):
            assert option in told, f"{' '.join(words)}: {option}"


def test_both_readmes_show_the_same_commands_and_the_same_sections() -> None:
    english, chinese = ((ROOT / page).read_text(encoding="utf-8") for page in PAGES[:2])
    for pattern in (r"^#+ ", r"^```\w+$", r"\]\(([\w./-]+)\)", r"^\| "):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE)), (
            pattern
        )


@pytest.mark.parametrize(
    "page", [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))]
)
def test_every_relative_link_leads_somewhere(page: str) -> None:
    here = ROOT / page
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", here.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (here.parent / target).exists()]
    assert missing == []


def test_make_targets_that_are_shown_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for target in re.findall(r"(?:`|\$ )make ([a-z-]+)", (ROOT / page).read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), (page, target)
