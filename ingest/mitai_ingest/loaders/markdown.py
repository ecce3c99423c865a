"""Markdown: rendered to HTML by markdown-it, then read as HTML (`docs/spec/passages.md` §4)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt

from mitai_ingest.decode import decode
from mitai_ingest.fragment import Fragment, Parsed
from mitai_ingest.loaders import html

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token
    from markdown_it.utils import EnvType, OptionsDict

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*[\"']?(.+?)[\"']?[ \t]*$", re.MULTILINE)
_SWALLOWING = re.compile(
    r"<(?=/?(?:title|textarea|style|xmp|iframe|noembed|noframes|script|plaintext|template|nav|noscript|svg|math"
    r"|object|select|head|body|html|table|frameset)\b)",
    re.IGNORECASE,
)


def load(data: bytes) -> Parsed:
    """Read a Markdown file.

    Raises:
        UndecodableText: Its encoding cannot be told.
    """
    text = decode(data).replace("\r\n", "\n").replace("\r", "\n")
    front = _FRONT_MATTER.match(text)
    if front is None:
        return html.parse(_renderer().render(text))
    title = _TITLE.search(front[1])
    body = html.parse(_renderer().render(text[front.end() :]))
    return Parsed(title[1] if title else body.title, (Fragment("code", front[1]), *body.fragments))


def _renderer() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    markdown.add_render_rule("html_block", _raw_html)
    markdown.add_render_rule("html_inline", _raw_html)
    return markdown


def _raw_html(
    _renderer: RendererHTML, tokens: Sequence[Token], index: int, _options: OptionsDict, _env: EnvType
) -> str:
    """Keep raw HTML, but let no element or open comment in it swallow the text that follows."""
    content = _SWALLOWING.sub("&lt;", tokens[index].content)
    last_comment = content.rfind("<!--")
    if last_comment > content.rfind("-->"):
        content = content[:last_comment] + "&lt;" + content[last_comment + 1 :]
    return content
