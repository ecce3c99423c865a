"""Which characters are these bytes? Strict, and confident or not at all (`docs/spec/passages.md` §3)."""

from __future__ import annotations

import codecs
import re
from typing import Final

from charset_normalizer import CharsetMatch, from_bytes

from mitai_ingest.errors import UndecodableText
from mitai_ingest.limits import CHAOS_MARGIN, COHERENCE_MARGIN, MAX_CHAOS, MIN_DOUBLE_BYTES, SIGNATURE_BYTES

LEGACY_ENCODINGS: Final = ("gb18030", "big5hkscs", "euc_kr", "cp932", "cp1252")
ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "euc_jp", *LEGACY_ENCODINGS)

# The WHATWG encoding standard reads old labels by what is really found under them.
_LABELS: Final = {
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "shift_jis": "cp932",
    "euc-jp": "euc_jp",
    "euc-kr": "euc_kr",
    "iso-8859-1": "cp1252",
    "windows-1252": "cp1252",
    "utf-8": "utf-8",
}
_META_CHARSET = re.compile(rb"<meta\b[^>]{0,200}?\bcharset\s*=\s*[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)


def decode(data: bytes, *, html: bool = False) -> str:
    """Return the text of `data`.

    Args:
        data: A whole file.
        html: Whether a charset declared by a `meta` element counts.

    Raises:
        UndecodableText: No encoding fits, or more than one does.
    """
    marked = _by_byte_order_mark(data)
    if marked is not None:
        return marked
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        pass
    declared = _declared(data) if html else None
    if declared is not None:
        return declared
    return _guess(data)


def _by_byte_order_mark(data: bytes) -> str | None:
    if data.startswith(codecs.BOM_UTF8):
        encoding = "utf-8-sig"
    elif data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        encoding = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        return None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UndecodableText(f"its byte order mark says {encoding}, but its bytes do not") from error


def _declared(data: bytes) -> str | None:
    found = _META_CHARSET.search(data[:SIGNATURE_BYTES])
    encoding = _LABELS.get(found[1].decode("ascii").lower()) if found else None
    if encoding is None:
        return None
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None  # pages lie about their charset; the guess decides


def _guess(data: bytes) -> str:
    matches = list(from_bytes(data, cp_isolation=list(LEGACY_ENCODINGS)))
    if not matches or not _stands_out(matches[0], matches[1:]):
        raise UndecodableText("its character encoding is not UTF-8 and could not be told with confidence")
    best = matches[0].encoding
    high = len(data) - len(data.translate(None, bytes(range(0x80, 0x100))))
    letters = sum(map(data.count, _ASCII_LETTERS))
    if high < MIN_DOUBLE_BYTES if best != "cp1252" else 2 * high > letters:
        raise UndecodableText("there is too little to tell its character encoding from")
    try:
        return data.decode(best)
    except UnicodeDecodeError as error:
        raise UndecodableText(f"most of it reads as {best}, but not all of it") from error


def _stands_out(best: CharsetMatch, rivals: list[CharsetMatch]) -> bool:
    if best.chaos > MAX_CHAOS:
        return False
    return not any(
        rival.chaos - best.chaos < CHAOS_MARGIN and rival.coherence >= best.coherence - COHERENCE_MARGIN
        for rival in rivals
        if str(rival) != str(best)
    )


_ASCII_LETTERS: Final = [bytes([byte]) for byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
