"""Fold text for comparison while every folded character still knows where it came from.

Spec: `docs/spec/answering.md` §2. The index folds with `mitai.text.tokens.fold`, which keeps no positions.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

from mitai.text.tokens import fold_han

_COMBINING_LATIN: Final = range(0x0300, 0x0370)


@dataclass(frozen=True)
class Folded:
    """Folded text with its way back.

    Attributes:
        text: The folded text.
        origin: For each folded character the index of the original character, and one more entry for the end.
    """

    text: str
    origin: tuple[int, ...]

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span of original characters behind the folded span ``[start, end)``."""
        if start >= end:
            return self.origin[start], self.origin[start]
        return self.origin[start], self.origin[end - 1] + 1


def fold(text: str) -> Folded:
    """Fold compatibility forms, case, Latin diacritics, traditional Chinese, and runs of white space."""
    characters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        if character.isspace():
            if characters and characters[-1] != " ":
                characters.append(" ")
                origin.append(index)
            continue
        plain = character if character.isascii() else unicodedata.normalize("NFKD", character)
        for folded in plain.casefold():
            if ord(folded) not in _COMBINING_LATIN:
                characters.append(" " if folded.isspace() else folded)
                origin.append(index)
    return Folded(fold_han("".join(characters)), (*origin, len(text)))
