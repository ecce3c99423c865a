"""PDF: lines and their boxes from PDFium, structure from `pdf_lines` (`docs/spec/passages.md` §4)."""

from __future__ import annotations

import ctypes
import math
from typing import TYPE_CHECKING, Final

import pypdfium2
import pypdfium2.raw as pdfium

from mitai_ingest.errors import DamagedDocument, EncryptedDocument
from mitai_ingest.fragment import Parsed
from mitai_ingest.loaders.pdf_lines import Line, structure

if TYPE_CHECKING:
    from collections.abc import Iterator

_PASSWORD: Final = 4  # FPDF_ERR_PASSWORD
_SECURITY: Final = 5  # FPDF_ERR_SECURITY: a protection that PDFium does not know


def load(data: bytes) -> Parsed:
    """Read a PDF file.

    Raises:
        EncryptedDocument: It has a password, or a protection that PDFium does not know.
        DamagedDocument: PDFium cannot open it, or one of its pages.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if error.err_code in {_PASSWORD, _SECURITY}:
            raise EncryptedDocument("the PDF has a password") from error
        raise DamagedDocument("the PDF cannot be opened") from error
    try:
        pages = [list(_lines(document, number)) for number in range(len(document))]
        title = str(document.get_metadata_value("Title"))
    except pypdfium2.PdfiumError as error:
        raise DamagedDocument("a page of the PDF cannot be read") from error
    finally:
        document.close()
    return Parsed(title, tuple(structure(pages)))


def _lines(document: pypdfium2.PdfDocument, number: int) -> Iterator[Line]:
    """Yield a page's lines in the order of its content stream."""
    page = document[number]
    try:
        text_page = page.get_textpage()
        offset = 0
        for text in str(text_page.get_text_range()).split("\r\n"):
            stripped = text.strip()
            if stripped:
                baseline, size = _place(text_page, offset + len(text) - len(text.lstrip()))
                yield Line(stripped, baseline, size)
            offset += len(text) + 2
        text_page.close()
    finally:
        page.close()


def _place(text_page: pypdfium2.PdfTextPage, at: int) -> tuple[float, float]:
    """Return the baseline and the font size, as drawn, of the character at an index of the page's text."""
    # PDFium counts glyphs, which are more than the characters that it gives as text.
    glyph = pdfium.FPDFText_GetCharIndexFromTextIndex(text_page.raw, at)
    x, y, matrix = ctypes.c_double(), ctypes.c_double(), pdfium.FS_MATRIX()
    pdfium.FPDFText_GetCharOrigin(text_page.raw, glyph, x, y)
    pdfium.FPDFText_GetMatrix(text_page.raw, glyph, matrix)
    scale = math.hypot(matrix.c, matrix.d) or 1.0
    return y.value, scale * float(pdfium.FPDFText_GetFontSize(text_page.raw, glyph))
