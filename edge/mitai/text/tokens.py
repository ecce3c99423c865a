"""Which terms does a text have, for the lexical index and for a query? (`docs/spec/knowledge_base.md` §8).

Terms hold letters and digits only and are separated by one space: FTS5 need only split, and no query syntax gets in.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from mitai.formats import MAX_QUERY_TERMS, MAX_TERM_LENGTH, TOKENISER_VERSION
from mitai.text.script import HAN_AND_KANA

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_RUNS = re.compile(rf"([{HAN_AND_KANA}]+)|([^\W_{HAN_AND_KANA}]+)")
_STOP_LATIN = (
    "a an the and or of in on at to for from by with about as into over than is are was were be been do does did has "
    "have had can could will would shall should may might i me my we us our you your he she it its they them their "
    "this that these those there what which who whom whose when where why how many much if any not no"
)
_STOP_HAN = (
    "的 了 是 在 和 与 及 或 吗 呢 吧 啊 我 你 您 他 她 它 们 这 那 有 什 么 怎 哪 谁 为 何 几 多 少 "
    "会 能 可 以 被 把 对 从 到 什么 怎么 多少 哪些 哪个 如何 是否 我们 你们 他们 这个 那个 可以 为何 几个 么时 时候"
)
STOP_TERMS = frozenset(f"{_STOP_LATIN} {_STOP_HAN}".split())
"""Terms that say how something is asked, not what about; left out of a query that has others."""

_FOLDED_BLOCKS = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0))


@cache
def _han_table() -> Mapping[int, str]:
    # One conversion of all characters, each on its own line: a phrase rule cannot reach across a line end.
    from opencc import OpenCC  # noqa: PLC0415 - not before the first text is folded

    characters = [chr(code) for first, end in _FOLDED_BLOCKS for code in range(first, end)]
    converted = OpenCC("t2s").convert("\n".join(characters)).split("\n")
    return {ord(one): other for one, other in zip(characters, converted, strict=True) if one != other}


def tokeniser_id() -> str:
    """Name everything that decides which terms a text has; an index with another name is rebuilt."""
    table = sorted(_han_table().items())
    digest = hashlib.sha256("".join(f"{code:x}{folded}" for code, folded in table).encode()).hexdigest()
    return f"{TOKENISER_VERSION}/{unicodedata.unidata_version}/{digest[:8]}"


def fold_han(text: str) -> str:
    """Replace each traditional character by its simplified form; the length stays."""
    return text.translate(_han_table())


def fold(text: str) -> str:
    """Fold width, compatibility forms, case and Chinese script; the length may change.

    For index and query only, never for what is stored or shown.
    """
    return fold_han(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()))


def terms(text: str) -> Iterator[str]:
    """Yield the terms of a text in reading order: words, and unigrams and bigrams of Han and kana runs."""
    for match in _RUNS.finditer(fold(text)):
        run = match.group(1)
        if run is None:
            yield match.group(2)[:MAX_TERM_LENGTH]
            continue
        for index, character in enumerate(run):
            yield character
            if index + 1 < len(run):
                yield run[index : index + 2]


def index_text(title: str, heading_path: Sequence[str], text: str) -> str:
    """Return what is indexed and embedded: title and headings that the passage does not itself hold, then its text."""
    return "\n".join([*dict.fromkeys(line for line in (title, *heading_path) if line not in text), text])


def fts_document(text: str) -> str:
    """Return the terms of a text as FTS5 is given them."""
    return " ".join(terms(text))


def fts_query(text: str) -> str:
    """Return the FTS5 query for a question: its different terms, quoted, joined by OR; empty where it has none.

    Stop terms are left out, unless there are no others: a rank by "the" or 的 would count like one by what is asked.
    """
    different = list(dict.fromkeys(terms(text)))
    telling = [term for term in different if term not in STOP_TERMS] or different
    return " OR ".join(f'"{term}"' for term in telling[:MAX_QUERY_TERMS])
