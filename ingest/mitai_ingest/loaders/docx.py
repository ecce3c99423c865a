"""Word documents: headings, paragraphs, lists and tables in document order (`docs/spec/passages.md` §4)."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from typing import TYPE_CHECKING, Final, Protocol

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn

from mitai_ingest.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument
from mitai_ingest.fragment import Fragment, Parsed, table_row
from mitai_ingest.limits import ARCHIVE_RATIO_FLOOR, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_ARCHIVE_RATIO
from mitai_ingest.normalise import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docx.document import Document as WordDocument

    class Element(Protocol):
        """What this module uses of lxml's elements, which ship without types."""

        tag: str
        text: str | None

        def __iter__(self) -> Iterator[Element]: ...

        def find(self, path: str) -> Element | None:
            """Return the first match of a path below this element."""

        def get(self, key: str) -> str | None:
            """Return an attribute."""


_W: Final = {
    name: qn(f"w:{name}")
    for name in (
        "p tbl tr tc sdt sdtContent t tab br cr noBreakHyphen del moveFrom pPr numPr outlineLvl val".split()  # noqa: SIM905 - a word list reads best as words
    )
}
_FALLBACK: Final = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_CONTENT: Final = {_W["tab"]: " ", _W["br"]: "\n", _W["cr"]: "\n", _W["noBreakHyphen"]: "-"}
_HIDDEN: Final = frozenset({_W["del"], _W["moveFrom"], _W["pPr"], _FALLBACK})
_HEADING_STYLE = re.compile(r"heading (\d)$", re.IGNORECASE)
_LIST_STYLE = re.compile(r"list (?:bullet|number|paragraph)", re.IGNORECASE)
_DOCTYPE = re.compile(rb"<!\s*DOCTYPE", re.IGNORECASE)
_BODY_TEXT_LEVEL: Final = 9  # `w:outlineLvl` counts headings 0–8; 9 is body text
MAX_HEADING_LEVEL: Final = 9
_ENCRYPTED_ENTRY: Final = 0x1


def load(data: bytes) -> Parsed:
    """Read a Word document.

    Raises:
        DocumentTooLarge: It unpacks to too much.
        EncryptedDocument: An entry of its archive is encrypted.
        DamagedDocument: The archive or a part is broken, or a part declares a document type.
    """
    _check_archive(data)
    try:
        document = docx.Document(io.BytesIO(data))
    except MemoryError:
        raise
    except Exception as error:  # python-docx lets KeyError, ValueError and lxml's errors through
        raise DamagedDocument(f"the Word document cannot be opened ({type(error).__name__})") from error
    return Parsed(_title(document), tuple(_merge_lists(_blocks(document))))


def _title(document: WordDocument) -> str:
    package = document.part.package
    if all(relation.reltype != RELATIONSHIP_TYPE.CORE_PROPERTIES for relation in package.rels.values()):
        return ""  # python-docx would make one up
    return document.core_properties.title or ""


def _check_archive(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _check_sizes(entries)
            for entry in entries:
                # zipfile never unpacks more of an entry than the size that it declares.
                if entry.filename.endswith((".xml", ".rels")) and _DOCTYPE.search(archive.read(entry)):
                    raise DamagedDocument("a part of the Word document declares a document type")
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        ValueError,
        EOFError,
        OSError,
        NotImplementedError,
    ) as error:
        raise DamagedDocument("the Word document's archive is broken or cut short") from error


def _check_sizes(entries: list[zipfile.ZipInfo]) -> None:
    if any(entry.flag_bits & _ENCRYPTED_ENTRY for entry in entries):
        raise EncryptedDocument("the Word document's archive is encrypted")
    unpacked = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MAX_ARCHIVE_ENTRIES or unpacked > MAX_ARCHIVE_BYTES:
        raise DocumentTooLarge(f"the Word document unpacks to {len(entries)} parts of {unpacked} bytes")
    if unpacked > ARCHIVE_RATIO_FLOOR and unpacked > MAX_ARCHIVE_RATIO * packed:
        raise DocumentTooLarge(f"the Word document unpacks to {unpacked // max(packed, 1)} times its size")


def _blocks(document: WordDocument) -> Iterator[Fragment]:
    styles = {style.style_id: style for style in document.styles}
    levels = {style_id: _style_level(style) for style_id, style in styles.items()}
    listed = {style_id for style_id, style in styles.items() if _LIST_STYLE.match(style.name or "")}
    for element in _flow(document.element.body, _W["p"], _W["tbl"]):
        if element.tag == _W["tbl"]:
            yield Fragment("table", "\n".join(map(_row, _flow(element, _W["tr"]))))
            continue
        text = _text(element)
        if not text.strip():
            continue
        style_id = getattr(element, "style", None) or ""
        level = _own_level(element) or levels.get(style_id, 0)
        if level:
            yield Fragment("heading", text, level=level)
        elif style_id in listed or element.find(f"{_W['pPr']}/{_W['numPr']}") is not None:
            yield Fragment("list", f"- {one_line(text)}")
        else:
            yield Fragment("paragraph", text)


def _flow(container: Element, *wanted: str) -> Iterator[Element]:
    """Yield the wanted children of an element in order, those in content controls too."""
    stack = list(reversed(list(container)))
    while stack:
        element = stack.pop()
        if element.tag in wanted:
            yield element
        elif element.tag in {_W["sdt"], _W["sdtContent"]}:
            stack.extend(reversed(list(element)))


def _text(element: Element) -> str:
    """Return the text below an element as a reader sees it: insertions in, deletions out."""
    pieces: list[str] = []
    stack = [element]
    while stack:
        current = stack.pop()
        if current.tag in _HIDDEN:
            continue
        if current.tag == _W["t"]:
            pieces.append(current.text or "")
        elif current.tag in _CONTENT:
            pieces.append(_CONTENT[current.tag])
        elif current.tag == _W["p"] and pieces:
            pieces.append("\n")  # a paragraph within a cell or a text box
        stack.extend(reversed(list(current)))
    return "".join(pieces)


def _row(row: Element) -> str:
    return table_row([_text(cell) for cell in _flow(row, _W["tc"])])


def _own_level(paragraph: Element) -> int:
    outline = paragraph.find(f"{_W['pPr']}/{_W['outlineLvl']}")
    return _outline_level(outline)


def _outline_level(outline: Element | None) -> int:
    value = "" if outline is None else str(outline.get(_W["val"]))
    return _below_title(int(value) + 1) if value.isdigit() and int(value) < _BODY_TEXT_LEVEL else 0


def _below_title(level: int) -> int:
    """Leave level 1 to the document's title."""
    return min(level + 1, MAX_HEADING_LEVEL)


def _style_level(style: object) -> int:
    name = str(getattr(style, "name", "") or "")
    if name.lower() == "title":
        return 1
    numbered = _HEADING_STYLE.match(name)
    if numbered:
        return _below_title(int(numbered[1]))
    element: Element = style.element  # type: ignore[attr-defined]  # python-docx ships no types
    return _outline_level(element.find(f"{_W['pPr']}/{_W['outlineLvl']}"))


def _merge_lists(fragments: Iterator[Fragment]) -> Iterator[Fragment]:
    """Make one list of items that follow each other."""
    items: list[str] = []
    for fragment in fragments:
        if fragment.kind == "list":
            items.append(fragment.text)
            continue
        if items:
            yield Fragment("list", "\n".join(items))
            items = []
        yield fragment
    if items:
        yield Fragment("list", "\n".join(items))
