"""Files to feed to loaders: small, made here, and broken on purpose where a test wants that."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import docx
import fpdf

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from docx.document import Document as WordDocument

HANS = (
    "本公司员工每年享有十二天带薪年假。试用期为三个月，期满后由部门主管进行评估。"
    "仪器应放置在干燥通风的房间内，环境温度不得超过三十五摄氏度。"
)
HANT = (
    "本公司員工每年享有十二天有薪年假。試用期為三個月，期滿後由部門主管進行評估。"
    "儀器應放置在乾燥通風的房間內，環境溫度不得超過三十五攝氏度。"
)


def pdf(pages: Sequence[Sequence[tuple[str, float]]], *, title: str = "", password: str = "") -> bytes:
    """Write pages of (paragraph, font size); an empty paragraph is a gap."""
    document = fpdf.FPDF()
    document.set_title(title)
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    for page in pages:
        document.add_page()
        for text, size in page:
            document.set_font("Helvetica", size=size)
            if text:
                document.multi_cell(0, size * 0.5, text, new_x="LMARGIN", new_y="NEXT", align="L")
            else:
                document.ln(size * 0.5)
    return bytes(document.output())


def word(fill: Callable[[WordDocument], object]) -> bytes:
    """Write a Word document that `fill` has put something into."""
    document = docx.Document()
    fill(document)
    written = io.BytesIO()
    document.save(written)
    return written.getvalue()


def repack(archive: bytes, changes: dict[str, bytes | None]) -> bytes:
    """Replace, add or (None) remove members of an archive."""
    written = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(archive)) as source,
        zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for entry in source.infolist():
            if entry.filename not in changes:
                target.writestr(entry.filename, source.read(entry))
        for name, data in changes.items():
            if data is not None:
                target.writestr(name, data)
    return written.getvalue()
