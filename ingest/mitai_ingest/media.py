"""Which formats are there, and under which suffixes? (`docs/spec/passages.md` §3)."""

from __future__ import annotations

from typing import Final

from mitai_ingest.errors import UnsupportedFormat

TEXT: Final = "text/plain"
MARKDOWN: Final = "text/markdown"
HTML: Final = "text/html"
PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

SUFFIXES: Final = {
    ".txt": TEXT,
    ".text": TEXT,
    ".log": TEXT,
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".pdf": PDF,
    ".docx": DOCX,
}
MEDIA_TYPES: Final = frozenset(SUFFIXES.values())


def check_suffix(suffix: str) -> None:
    """Refuse a suffix that no loader reads; none at all is left to the content.

    Raises:
        UnsupportedFormat: No format has this suffix.
    """
    if suffix and suffix not in SUFFIXES:
        raise UnsupportedFormat(f"no loader reads {suffix} files")
