"""What the command line prints: results on stdout, everything else on stderr, JSON where asked for."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mitai.errors import MitaiError

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, among them ESC, which starts what terminals obey
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of writing
    "\ud800-\udfff]"
)


def printable(text: str) -> str:
    """Return text of a document, a file name, a model or an enclave as a terminal may have it."""
    return _UNPRINTABLE.sub("\ufffd", text)


def safe(text: str) -> str:
    """Return such a text for rich: printable, and none of it taken for markup."""
    return escape(printable(text))


def print_json(value: object) -> None:
    """Write one JSON document to stdout, as one line, in UTF-8."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_error(error: MitaiError) -> None:
    """Write an error and the way on to stderr."""
    stderr.print(f"[bold red]error:[/] {safe(str(error))}")
    if error.hint:
        stderr.print(f"[dim]  → {safe(error.hint)}[/]")


def error_as_json(error: MitaiError, code: int) -> Mapping[str, object]:
    """Return the shape in which `--json` commands report an error."""
    return {"error": {"type": type(error).__name__, "message": str(error), "hint": error.hint, "exit_code": code}}


def print_simulated() -> None:
    """Say, where it cannot be missed, that this rests on a simulated TEE."""
    stderr.print(
        "[bold black on yellow] SIMULATED [/] no TEE hardware: this protects nothing from who runs that machine"
    )


def print_first_use() -> None:
    """Say that the policy pins what was seen first."""
    stdout.print(
        "[bold yellow]TRUST ON FIRST USE[/] the policy pins what this enclave showed first; nobody compared it"
    )
