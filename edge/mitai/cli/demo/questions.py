"""The questions of the demo: what is asked, and in which document the answer stands."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitai.errors import MitaiError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Question:
    """One question and where its answer stands.

    Attributes:
        text: The question.
        language: ``en``, ``zh-Hans`` or ``zh-Hant``.
        file: Name of the document with the answer.
        facts: What a right answer contains, each literally.
        demo: Whether `mitai demo` asks it.
    """

    text: str
    language: str
    file: str
    facts: tuple[str, ...]
    demo: bool


def load_questions(path: Path) -> tuple[Question, ...]:
    """Read a question file.

    Raises:
        MitaiError: It is not TOML of the documented form.
    """
    try:
        with path.open("rb") as stream:
            entries = tomllib.load(stream)["question"]
        return tuple(
            Question(
                text=str(entry["question"]),
                language=str(entry["language"]),
                file=str(entry["file"]),
                facts=tuple(map(str, entry["facts"])),
                demo=bool(entry.get("demo", False)),
            )
            for entry in entries
        )
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise MitaiError(f"{path} is not a question file ({type(error).__name__}: {error})") from None
