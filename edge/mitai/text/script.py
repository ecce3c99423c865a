"""In which script is a text written, Han or Latin? (`docs/spec/knowledge_base.md` §9)."""

from __future__ import annotations

import re
from enum import StrEnum

from mitai.formats import HAN_SHARE, LATIN_SHARE

HAN_AND_KANA = (
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b"  # iteration mark, closing mark, zero, Hangzhou numerals
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff"  # hiragana, katakana, length mark
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # unified ideographs, extensions A to H
)
"""The characters that are written without spaces between words, as the inside of a regular expression's set."""

_UNITS = re.compile(rf"([{HAN_AND_KANA}])|([^\W\d_{HAN_AND_KANA}]+)")
_WORD_UNITS = 2  # a Latin word says about as much as two Han characters


class Script(StrEnum):
    """The script that most of a text is written in."""

    HAN = "han"
    LATIN = "latin"
    MIXED = "mixed"
    NONE = "none"


def detect_script(text: str) -> Script:
    """Tell the script of a text; other alphabets count as Latin, since they too have words between spaces."""
    han = words = 0
    for match in _UNITS.finditer(text):
        if match.group(1):
            han += 1
        else:
            words += 1
    units = han + _WORD_UNITS * words
    if not units:
        return Script.NONE
    share = han / units
    if share >= HAN_SHARE:
        return Script.HAN
    return Script.LATIN if share <= LATIN_SHARE else Script.MIXED


def differ(one: Script, other: Script) -> bool:
    """Tell whether two texts share no script: Han against Latin; a mixed text differs from neither."""
    return {one, other} == {Script.HAN, Script.LATIN}
