from __future__ import annotations

import pytest

from mitai_ingest.errors import DamagedDocument, EncryptedDocument
from mitai_ingest.fragment import Fragment, tidy
from mitai_ingest.loaders.pdf import load
from support.document_files import pdf

LONG = "The spectrometer measures absorbance between 190 and 1100 nanometres and stores every result. "


def test_headings_paragraphs_and_pages() -> None:
    data = pdf(
        [
            [("User manual", 20), ("", 11), (LONG * 3, 11), ("", 11), ("Warranty is 30 months.", 11)],
            [("Cleaning", 14), ("", 11), ("Use a damp cloth.", 11)],
        ],
        title="Manual TK-40",
    )
    parsed = tidy(load(data))
    assert parsed.title == "Manual TK-40"
    assert parsed.fragments == (
        Fragment("heading", "User manual", level=1, page=1),
        Fragment("paragraph", (LONG * 3).strip(), page=1),
        Fragment("paragraph", "Warranty is 30 months.", page=1),
        Fragment("heading", "Cleaning", level=2, page=2),
        Fragment("paragraph", "Use a damp cloth.", page=2),
    )


def test_a_password_is_told_apart_from_damage() -> None:
    with pytest.raises(EncryptedDocument) as refused:
        load(pdf([[("secret", 11)]], password="open sesame"))
    assert "password" in refused.value.hint


def test_an_owner_password_alone_does_not_stop_reading() -> None:
    import fpdf

    document = fpdf.FPDF()
    document.set_encryption(owner_password="owner", permissions=fpdf.enums.AccessPermission.none())
    document.add_page()
    document.set_font("Helvetica", size=11)
    document.cell(text="readable")
    assert load(bytes(document.output())).fragments[0].text == "readable"


@pytest.mark.parametrize("keep", [20, 300])
def test_a_truncated_file_is_damaged(keep: int) -> None:
    with pytest.raises(DamagedDocument):
        load(pdf([[("hello", 11)]])[:keep])


def test_a_page_without_text_gives_nothing() -> None:
    assert load(pdf([[]])).fragments == ()
