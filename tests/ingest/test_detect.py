from __future__ import annotations

import io
import zipfile

import pytest

from mitai_ingest import media
from mitai_ingest.detect import detect
from mitai_ingest.errors import DamagedDocument, EncryptedDocument, UnsupportedFormat
from support.document_files import pdf, word

PDF = pdf([[("hello", 11)]])
DOCX = word(lambda document: document.add_paragraph("hello"))
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512)


def archive(name: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as target:
        target.writestr(name, "x")
    return written.getvalue()


@pytest.mark.parametrize(
    ("suffix", "data", "media_type"),
    [
        (".txt", b"hello", media.TEXT),
        (".md", b"# hello", media.MARKDOWN),
        (".htm", b"<p>hello", media.HTML),
        (".pdf", PDF, media.PDF),
        (".pdf", b"\n\njunk" + PDF, media.PDF),
        (".docx", DOCX, media.DOCX),
        ("", PDF, media.PDF),
        ("", DOCX, media.DOCX),
        ("", "说明".encode(), media.TEXT),
        (".txt", "说明".encode("utf-16"), media.TEXT),
        (".log", b"\x1b[31mred\x1b[0m\n", media.TEXT),
    ],
)
def test_suffix_and_content_agree(suffix: str, data: bytes, media_type: str) -> None:
    assert detect(suffix, data) == media_type


@pytest.mark.parametrize(
    ("suffix", "data", "reason"),
    [
        (".png", b"\x89PNG", ".png"),
        (".exe", b"MZ\x90", ".exe"),
        (".txt", bytes(range(256)), "binary"),
        (".txt", b"plain\x00text", "binary"),
        (".txt", b"\x01\x02\x03\x04 mostly controls", "binary"),
        (".txt", PDF, "PDF"),
        (".md", DOCX, "ZIP"),
        (".html", b"\x7fELF\x02", "program"),
        (".txt", b"GIF89a", "GIF"),
        (".docx", archive("xl/workbook.xml"), "not a Word document"),
        (".docx", OLE, ".doc"),
        ("", b"\x00\x01\x02", "binary"),
    ],
)
def test_what_is_not_supported_says_why(suffix: str, data: bytes, reason: str) -> None:
    with pytest.raises(UnsupportedFormat, match=reason) as refused:
        detect(suffix, data)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("suffix", "data"),
    [(".pdf", b"hello"), (".docx", b"hello"), (".docx", DOCX[:2000]), (".docx", b"PK\x03\x04")],
)
def test_the_wrong_beginning_is_damage(suffix: str, data: bytes) -> None:
    with pytest.raises(DamagedDocument):
        detect(suffix, data)


def test_a_word_document_with_a_password() -> None:
    with pytest.raises(EncryptedDocument, match="password"):
        detect(".docx", OLE + "EncryptedPackage".encode("utf-16-le"))
