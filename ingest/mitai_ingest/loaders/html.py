"""HTML: what a reader would see, block by block (`docs/spec/passages.md` §4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from mitai_ingest.decode import decode
from mitai_ingest.fragment import Fragment, Parsed, table_row
from mitai_ingest.normalise import meet, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

DROPPED: Final = frozenset(
    "script style nav template noscript svg iframe object select head canvas audio video".split()  # noqa: SIM905 - a word list reads best as words
)
HEADINGS: Final = {f"h{level}": level for level in range(1, 7)}
BLOCKS: Final = frozenset(
    "address article aside blockquote body caption dd details dialog div dl dt fieldset figcaption figure"  # noqa: SIM905 - the same
    " footer form header hr legend main p section summary".split()
)
LISTS: Final = frozenset({"ul", "ol", "menu"})
_SOFT_BREAK: Final = "\x1f"  # stands for white space with a line break in it, until both its neighbours are known
_SPACE = re.compile(r"[ \t\n\r\f\x1f]+")
_GAP = re.compile(f"[ {_SOFT_BREAK}]+")


def load(data: bytes) -> Parsed:
    """Read an HTML file.

    Raises:
        UndecodableText: Its encoding cannot be told.
    """
    return parse(decode(data, html=True))


def parse(source: str) -> Parsed:
    """Read HTML that is text already."""
    tree = LexborHTMLParser(source)
    title = tree.css_first("title")
    reader = _Reader()
    if tree.root is not None:
        for node, entering in _events(tree.root):
            reader.event(node, entering=entering)
    reader.flush()
    return Parsed(title.text() if title is not None else "", tuple(reader.fragments))


def _events(root: LexborNode) -> Iterator[tuple[LexborNode, bool]]:
    """Walk without recursion: documents may be nested deeper than a stack."""
    stack = [(root, True)]
    while stack:
        node, entering = stack.pop()
        if entering and (node.tag in DROPPED or (node.is_element_node and "hidden" in node.attributes)):
            continue
        yield node, entering
        if entering:
            stack.append((node, False))
            children = list(node.iter(include_text=True))
            stack.extend((child, True) for child in reversed(children))


class _Reader:
    """Gather text until a block ends."""

    def __init__(self) -> None:
        self.fragments: list[Fragment] = []
        self._inline: list[str] = []
        self._items: list[str] = []
        self._rows: list[str] = []
        self._cells: list[str] = []
        self._counters: list[int | None] = []  # one for each open list; None where it does not count
        self._marker = ""
        self._tables = 0
        self._code = 0

    def event(self, node: LexborNode, *, entering: bool) -> None:
        """Take in that the walk enters or leaves a node."""
        tag = node.tag or ""
        if tag == "-text":
            self._text((node.text_content or "") if entering else "")
        elif tag == "img":
            self._text((node.attributes.get("alt") or "") if entering else "")
        elif tag == "br":
            self._inline.append("\n" if entering else "")
        elif tag == "table":
            self._table(entering=entering)
        elif self._tables:
            self._in_table(tag, entering=entering)
        else:
            self._block(node, tag, entering=entering)

    def _block(self, node: LexborNode, tag: str, *, entering: bool) -> None:
        if tag in LISTS:
            self._list(node, entering=entering)
        elif tag == "li":
            self._item(entering=entering)
        elif tag == "pre":
            self._pre(entering=entering)
        elif tag in HEADINGS:
            self.flush(level=0 if entering else HEADINGS[tag])
        elif tag in BLOCKS:
            self._boundary()

    def flush(self, level: int = 0) -> None:
        """End the block that is open; as a heading where `level` says so."""
        text = self._take()
        if self._counters:
            self._end_item(text)
        else:
            self._add(Fragment("heading" if level else "paragraph", text, level=level))

    def _take(self) -> str:
        text = "".join(self._inline)
        self._inline.clear()
        return text if self._code else _GAP.sub(_gap, text)

    def _add(self, fragment: Fragment) -> None:
        if fragment.text.strip():
            self.fragments.append(fragment)

    def _text(self, text: str) -> None:
        self._inline.append(text if self._code else _SPACE.sub(_mark, text))

    def _pre(self, *, entering: bool) -> None:
        if entering:
            self.flush()
            self._end_list()
            self._code += 1
            return
        if self._code == 1:
            self._add(Fragment("code", self._take()))
        self._code -= 1

    def _boundary(self) -> None:
        if self._counters:
            self._inline.append(" ")
        else:
            self.flush()

    def _list(self, node: LexborNode, *, entering: bool) -> None:
        if entering:
            self.flush()
            self._counters.append(_first_number(node) if node.tag == "ol" else None)
            return
        self.flush()
        if self._counters:
            self._counters.pop()
        if not self._counters:
            self._end_list()

    def _end_list(self) -> None:
        self._add(Fragment("list", "\n".join(self._items)))
        self._items = []

    def _item(self, *, entering: bool) -> None:
        self.flush()
        if entering and self._counters:  # an item outside a list is a paragraph
            number = self._counters[-1]
            self._marker = "- " if number is None else f"{number}. "
            self._counters[-1] = None if number is None else number + 1

    def _end_item(self, text: str) -> None:
        line = one_line(text)
        if line:
            self._items.append(self._marker + line)
            self._marker = ""

    def _table(self, *, entering: bool) -> None:
        if entering:
            if self._tables == 0:
                self.flush()
                self._end_list()
            self._tables += 1
            return
        self._tables -= 1
        if self._tables == 0:
            self._end_row()
            self._add(Fragment("table", "\n".join(self._rows)))
            self._rows = []

    def _in_table(self, tag: str, *, entering: bool) -> None:
        if self._tables == 1 and tag == "tr":
            self._end_row()
        elif self._tables == 1 and tag in {"td", "th"} and not entering:
            self._cells.append(self._take())
        elif tag in BLOCKS or tag in HEADINGS or tag in {"li", "tr", "td", "th", "caption", "pre"}:
            self._inline.append(" ")

    def _end_row(self) -> None:
        loose = self._take()
        if loose.strip():
            self._cells.append(loose)
        if row := table_row(self._cells):
            self._rows.append(row)
        self._cells = []


def _mark(space: re.Match[str]) -> str:
    return _SOFT_BREAK if "\n" in space[0] else " "


def _gap(gap: re.Match[str]) -> str:
    """Write white space as a browser does, but nothing for a line break between CJK characters."""
    left = gap.string[gap.start() - 1 : gap.start()]
    right = gap.string[gap.end() : gap.end() + 1]
    return "" if _SOFT_BREAK in gap[0] and left and right and meet(left, right) else " "


def _first_number(node: LexborNode) -> int:
    start = node.attributes.get("start") or "1"
    return int(start) if start.isascii() and start.isdigit() and len(start) < 10 else 1  # noqa: PLR2004 - a number that a list can begin with
