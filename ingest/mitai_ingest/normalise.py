"""The normal form of text: NFC, known white space, nothing invisible (`docs/spec/passages.md` §5)."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TAB_WIDTH: Final = 4

_LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f"  # controls; TAB and LF stay, other line breaks are LF by now
    "\u00ad\u200b\u2060\ufeff"  # soft hyphen, zero width space, word joiner, byte order mark
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls: they show another order than is read
    "\ud800-\udfff"  # lone surrogates: they cannot be written as UTF-8
    "\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f"  # noncharacters; tags, which only a model reads
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0x10000, 0x110000, 0x10000))
    + "]"
)
_SPACE_RUN = re.compile(r"[^\S\n]+")
_BREAK_RUN = re.compile(r" ?\n[ \n]*")
_CJK = re.compile(
    "[\u2e80-\u2fdf\u2ff0-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f"
    "\uff01-\uff60\uffe0-\uffe6\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_EITHER = frozenset("‘’“”…—")  # punctuation that both scripts use
_HAN_OR_KANA = re.compile(
    "[\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u30ff\u3105-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)


def visible(text: str) -> str:
    """Return `text` in NFC with LF line breaks and without characters that no reader sees (§5.1–3)."""
    if not text.isprintable():  # printable: no controls, no format characters, no white space but spaces
        text = _INVISIBLE.sub("", _LINE_BREAKS.sub("\n", text))
    return unicodedata.normalize("NFC", text)


def lines(text: str) -> str:
    """Return running text: single spaces, single line breaks, trimmed ends (§5.4)."""
    shown = visible(text)
    if shown.isprintable():
        return " ".join(shown.split())
    return _BREAK_RUN.sub("\n", _SPACE_RUN.sub(" ", shown)).strip()


def one_line(text: str) -> str:
    """Return running text as one line, for headings and table cells."""
    return join_lines(lines(text).split("\n"))


def code(text: str) -> str:
    """Return code: indentation kept, tabs expanded, no trailing space, single blank lines (§5.5)."""
    stripped = "\n".join(line.expandtabs(TAB_WIDTH).rstrip() for line in visible(text).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", stripped).strip("\n")


def join_lines(parts: Iterable[str]) -> str:
    """Join the wrapped lines of one paragraph: nothing between CJK characters, else a space (§5.6)."""
    joined: list[str] = []
    last = ""
    for part in parts:
        if not part:
            continue
        if last and not meet(last, part[0]):
            joined.append(" ")
        joined.append(part)
        last = part[-1]
    return "".join(joined)


def meet(left: str, right: str) -> bool:
    """Tell whether a line break between two characters stands for nothing, not for a space."""
    if is_cjk(left):
        return is_cjk(right) or right in _EITHER
    return left in _EITHER and is_cjk(right)


def is_cjk(character: str) -> bool:
    """Tell whether a character is Han, kana, bopomofo, or CJK or full-width punctuation."""
    return _CJK.match(character) is not None


def is_han_or_kana(character: str) -> bool:
    """Tell whether a character is Han, kana or bopomofo: a letter of a script without spaces."""
    return _HAN_OR_KANA.match(character) is not None


def columns(text: str) -> int:
    """Return how many columns a terminal would give `text`: CJK characters take two."""
    return len(text) + len(_CJK.findall(text))
