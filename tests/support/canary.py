"""Find planted words in bytes, in every form in which a careless layer could have written them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16-le", "utf-16-be")


def forms(word: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every form that `find` looks for."""
    for encoding in _ENCODINGS:
        try:
            raw = word.encode(encoding)
        except UnicodeEncodeError:
            continue
        yield encoding, raw
        yield from ((f"base64 of {encoding}, offset {offset}", inner) for offset, inner in _base64_cores(raw))
        yield f"percent-escaped {encoding}", quote(raw, safe="").encode()
        yield f"hexadecimal {encoding}", raw.hex().encode()
    yield "JSON-escaped", json.dumps(word)[1:-1].encode()


def _base64_cores(raw: bytes) -> Iterator[tuple[int, bytes]]:
    # Base64 of a word depends on its offset modulo 3; only the characters that neighbours cannot change are kept.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        first = (0, 2, 3)[offset]
        last = (offset + len(raw)) * 8 // 6
        yield offset, encoded[first:last]


def find(words: Iterable[str], data: bytes) -> list[str]:
    """Return a line for each word and form that stands in `data`; an empty list means that none does."""
    lowered = data.lower()
    return [
        f"{word!r} as {name}"
        for word in words
        for name, raw in forms(word)
        if raw in data or (name.startswith(("percent", "hex", "JSON")) and raw.lower() in lowered)
    ]
