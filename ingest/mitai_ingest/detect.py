"""Which format is this file? Suffix and content must agree (`docs/spec/passages.md` §3)."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Final

from mitai_ingest.errors import DamagedDocument, EncryptedDocument, UnsupportedFormat
from mitai_ingest.limits import MAX_CONTROL_SHARE, SIGNATURE_BYTES
from mitai_ingest.media import DOCX, PDF, SUFFIXES, TEXT, check_suffix

BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

_SIGNATURES = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old office document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"\x7fELF": "a program",
    b"MZ\x90": "a program",
    b"\x1f\x8b": "a gzip archive",
}
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")


def detect(suffix: str, data: bytes) -> str:
    """Return the media type on which suffix (lower case, with dot, or empty) and content agree.

    Raises:
        UnsupportedFormat: The content is of no supported format, or of another than the name says.
        DamagedDocument: The content does not begin like the format that the name says.
        EncryptedDocument: An office document with a password.
    """
    check_suffix(suffix)
    expected = SUFFIXES.get(suffix) or _from_content(data)
    if expected == PDF:
        if b"%PDF-" not in data[:SIGNATURE_BYTES]:
            raise DamagedDocument("the file does not begin like a PDF document")
    elif expected == DOCX:
        _check_docx(data)
    else:
        _check_text(data)
    return expected


def _from_content(data: bytes) -> str:
    if data.startswith(b"%PDF-"):
        return PDF
    return DOCX if data.startswith((b"PK\x03\x04", _OLE)) else TEXT


def _check_text(data: bytes) -> None:
    for signature, name in _SIGNATURES.items():
        if data.startswith(signature):
            raise UnsupportedFormat(f"it is named like a text, but holds {name}", hint="Give it its true suffix.")
    if data.startswith(BYTE_ORDER_MARKS):
        return
    if b"\x00" in data or len(_CONTROL.findall(data)) > MAX_CONTROL_SHARE * len(data):
        raise UnsupportedFormat("it is named like a text, but holds binary data")


def _check_docx(data: bytes) -> None:
    if data.startswith(_OLE):
        if _ENCRYPTED_PACKAGE in data:
            raise EncryptedDocument("the Word document has a password")
        raise UnsupportedFormat("it is an old office document (.doc)", hint="Save it as .docx.")
    if not data.startswith(b"PK\x03\x04"):
        raise DamagedDocument("the file does not begin like a Word document")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise DamagedDocument("the Word document's archive is broken or cut short") from error
    if "word/document.xml" not in names:
        raise UnsupportedFormat("it is an archive, but not a Word document")
