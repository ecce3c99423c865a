"""One module a format: bytes in, fragments out. Imported only by the parser process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitai_ingest import media
from mitai_ingest.loaders import docx, html, markdown, pdf, text

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_ingest.fragment import Parsed

_LOADERS: dict[str, Callable[[bytes], Parsed]] = {
    media.TEXT: text.load,
    media.MARKDOWN: markdown.load,
    media.HTML: html.load,
    media.PDF: pdf.load,
    media.DOCX: docx.load,
}


def parse(media_type: str, data: bytes) -> Parsed:
    """Read a file of a known media type; the texts are not yet normalised.

    Raises:
        LoadError: The file is damaged, encrypted, too large or undecodable.
    """
    return _LOADERS[media_type](data)
