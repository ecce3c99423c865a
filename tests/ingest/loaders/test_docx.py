from __future__ import annotations

import io
import re
import zipfile
from typing import TYPE_CHECKING

import pytest

from mitai_ingest.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument
from mitai_ingest.fragment import tidy
from mitai_ingest.loaders.docx import load
from support.document_files import repack, word

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

_BODY = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{}</w:body></w:document>'


def read(data: bytes) -> list[tuple[str, int, str]]:
    return [(f.kind, f.level, f.text) for f in tidy(load(data)).fragments]


def body(xml: str, prefix: str = "") -> bytes:
    return repack(word(lambda _: None), {"word/document.xml": (prefix + _BODY.format(xml)).encode()})


def test_document_order() -> None:
    def fill(document: WordDocument) -> None:
        document.core_properties.title = "员工手册"
        document.add_heading("手册", 0)
        document.add_heading("Leave", 1)
        document.add_paragraph("Annual leave is 27 days.")
        table = document.add_table(rows=2, cols=2)
        for cell, text in zip([c for row in table.rows for c in row.cells], ["a", "b", "c", "d"], strict=True):
            cell.text = text
        document.add_paragraph("one", style="List Bullet")
        document.add_paragraph("two", style="List Number")
        document.add_heading("Deep", 3)
        document.add_paragraph("end")

    data = word(fill)
    assert load(data).title == "员工手册"
    assert read(data) == [
        ("heading", 1, "手册"),
        ("heading", 2, "Leave"),
        ("paragraph", 0, "Annual leave is 27 days."),
        ("table", 0, "a | b\nc | d"),
        ("list", 0, "- one\n- two"),
        ("heading", 4, "Deep"),
        ("paragraph", 0, "end"),
    ]


def test_insertions_are_read_and_deletions_are_not() -> None:
    xml = (
        "<w:p><w:r><w:t>kept </w:t></w:r><w:ins><w:r><w:t>added</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>"
        "<w:hyperlink><w:r><w:tab/><w:t>link</w:t><w:br/><w:t>next</w:t></w:r></w:hyperlink></w:p>"
    )
    assert read(body(xml)) == [("paragraph", 0, "kept added link\nnext")]


def test_content_controls_and_merged_cells() -> None:
    cell = "<w:tc>{}<w:p><w:r><w:t>{}</w:t></w:r></w:p></w:tc>"
    wide = cell.format('<w:tcPr><w:gridSpan w:val="2"/></w:tcPr>', "wide")
    xml = (
        "<w:sdt><w:sdtContent><w:p><w:r><w:t>controlled</w:t></w:r></w:p></w:sdtContent></w:sdt>"
        f"<w:tbl><w:tr>{wide}</w:tr><w:tr>{cell.format('', 'x')}{cell.format('', 'y')}</w:tr></w:tbl>"
    )
    assert read(body(xml)) == [("paragraph", 0, "controlled"), ("table", 0, "wide\nx | y")]


def test_a_document_without_properties_has_no_title() -> None:
    whole = word(lambda document: document.add_paragraph("x"))
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        relations = archive.read("_rels/.rels").decode()
    kept = re.sub(r"<Relationship [^>]*core-properties[^>]*/>", "", relations)
    assert kept != relations
    bare = repack(whole, {"docProps/core.xml": None, "_rels/.rels": kept.encode()})
    assert load(bare).title == ""


def test_a_corrupt_stream_is_damage() -> None:
    data = bytearray(word(lambda document: document.add_paragraph("x")))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entry = archive.getinfo("word/document.xml")
    begin = entry.header_offset + 30 + len(entry.filename)
    data[begin : begin + 40] = b"\xff" * 40
    with pytest.raises(DamagedDocument):
        load(bytes(data))


def test_an_outline_level_makes_a_heading() -> None:
    xml = '<w:p><w:pPr><w:outlineLvl w:val="1"/></w:pPr><w:r><w:t>Part</w:t></w:r></w:p>'
    assert read(body(xml)) == [("heading", 3, "Part")]


def test_threat_20_a_zip_bomb_is_refused_before_it_unpacks() -> None:
    bomb = repack(word(lambda _: None), {"word/media/image1.xml": bytes(40 * 1024 * 1024)})
    assert len(bomb) < 200_000
    with pytest.raises(DocumentTooLarge, match="times its size"):
        load(bomb)


def test_threat_20_an_archive_of_very_many_parts_is_refused() -> None:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for number in range(4097):
            archive.writestr(f"p{number}", b"")
    with pytest.raises(DocumentTooLarge, match="4097 parts"):
        load(written.getvalue())


def test_threat_20_a_declared_size_over_the_cap_is_refused() -> None:
    data = bytearray(word(lambda document: document.add_paragraph("x")))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 24 : directory + 28] = (300 * 1024 * 1024).to_bytes(4, "little")
    with pytest.raises(DocumentTooLarge):
        load(bytes(data))


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE x [<!ENTITY leak SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY leak "&a;&a;&a;&a;">]>',
    ],
)
def test_threat_20_document_types_and_entities_are_refused(declaration: str) -> None:
    with pytest.raises(DamagedDocument, match="document type"):
        load(body("<w:p><w:r><w:t>&leak;</w:t></w:r></w:p>", declaration))


def test_an_encrypted_entry() -> None:
    data = bytearray(word(lambda _: None))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(EncryptedDocument):
        load(bytes(data))


@pytest.mark.parametrize("part", ["word/document.xml", "[Content_Types].xml", "_rels/.rels"])
def test_a_missing_or_broken_part_is_damage(part: str) -> None:
    whole = word(lambda document: document.add_paragraph("x"))
    for broken in (None, b"<not xml"):
        with pytest.raises(DamagedDocument):
            load(repack(whole, {part: broken}))


def test_a_truncated_file_is_damaged() -> None:
    with pytest.raises(DamagedDocument):
        load(word(lambda document: document.add_paragraph("x"))[:-200])
