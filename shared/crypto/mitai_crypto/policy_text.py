"""How are the parts of a trust policy written as TOML? (`docs/spec/policy.md`).

Knows the syntax only: values come in as text and numbers, and what they mean is decided in `mitai_crypto.policy`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mitai_crypto.labels import POLICY_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def head(name: str, tee: Iterable[str], suites: Iterable[str], max_age_seconds: int) -> list[str]:
    """Give the first lines."""
    return [
        f"version = {POLICY_VERSION}",
        f"name = {_string(name)}",
        f"tee = {_strings(tee)}",
        f"suites = {_strings(suites)}",
        f"max_age_seconds = {max_age_seconds}",
    ]


def on_first_use() -> list[str]:
    """Give the line that marks a policy as pinned without comparison."""
    return ["trust_on_first_use = true"]


def demands(engine: Iterable[str], configuration: Iterable[str], chips: Iterable[str], gpu: str) -> list[str]:
    """Give the lines about engine, configuration, chips and GPU."""
    listed = list(chips)
    return [
        f"engine = {_strings(engine)}",
        f"configuration = {_strings(configuration)}",
        *([f"chips = {_strings(listed)}"] if listed else []),
        f"gpu = {_string(gpu)}",
    ]


def model(name: str, digest: str | None) -> list[str]:
    """Give the table of the model."""
    lines = ["", "[model]", f"name = {_string(name)}"]
    return lines if digest is None else [*lines, f"digest = {_string(digest)}"]


def simulated(root: str | None) -> list[str]:
    """Give the table of the simulated root, if there is one."""
    return [] if root is None else ["", "[simulated]", f"root = {_string(root)}"]


def reference(name: str, issued: int, expires: int | None, registers: Mapping[str, str]) -> list[str]:
    """Give one reference value; times in Unix seconds."""
    lines = ["", "[[reference]]", f"name = {_string(name)}", f"issued = {_moment(issued)}"]
    if expires is not None:
        lines.append(f"expires = {_moment(expires)}")
    lines += ["", "[reference.registers]"]
    return lines + [f"{key} = {_string(value)}" for key, value in registers.items()]


def document(lines: Iterable[str]) -> str:
    """Join lines to a file."""
    return "\n".join(lines) + "\n"


def _string(text: str) -> str:
    # For printable text, which is all that a policy holds, JSON's escapes are exactly TOML's.
    return json.dumps(str(text), ensure_ascii=False)


def _strings(items: Iterable[str]) -> str:
    return "[" + ", ".join(_string(item) for item in items) + "]"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
