from __future__ import annotations

import pytest

from mitai_ingest.fragment import tidy
from mitai_ingest.loaders.markdown import load


def read(text: str) -> list[tuple[str, int, str]]:
    return [(f.kind, f.level, f.text) for f in tidy(load(text.encode())).fragments]


def test_blocks() -> None:
    text = (
        "# 手册\n\n第一行\n第二行 **重点**。\n\n- one\n  - two\n3. three\n\n"
        "| a | b |\n|---|---|\n| 1 | |\n\n```\nx\n  y\n```\n\n    z\n"
    )
    assert read(text) == [
        ("heading", 1, "手册"),
        ("paragraph", 0, "第一行第二行 重点。"),
        ("list", 0, "- one\n- two"),
        ("list", 0, "3. three"),
        ("table", 0, "a | b\n1 |"),
        ("code", 0, "x\n  y"),
        ("code", 0, "z"),
    ]


def test_links_give_their_words_and_images_their_description() -> None:
    assert read("See [the *map*](https://x.invalid/a) ![a plan](p.png) <https://y.invalid>") == [
        ("paragraph", 0, "See the map a plan https://y.invalid")
    ]


def test_front_matter_is_kept_as_code_and_gives_the_title() -> None:
    parsed = load(b'---\ntitle: "Leave policy"\ndate: 2026-01-01\n---\n# H\n')
    assert parsed.title == "Leave policy"
    assert [fragment.kind for fragment in parsed.fragments] == ["code", "heading"]


@pytest.mark.parametrize(
    "html",
    [
        "<script>",
        "<style>",
        "<!-- open",
        "<textarea>",
        "<template>",
        "<nav>",
        "<title>",
        "<plaintext>",
        "<svg>",
        "<select>",
    ],
)
def test_no_html_swallows_the_text_that_follows(html: str) -> None:
    for text in (f"{html}\n\nThe fact.\n", f"a {html} b\n\nThe fact.\n"):
        assert "The fact." in "\n".join(block[2] for block in read(text))


def test_a_closed_comment_is_dropped() -> None:
    assert read("<!-- note -->\n\ntext") == [("paragraph", 0, "text")]
