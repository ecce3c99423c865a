from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai_ingest.fragment import tidy
from mitai_ingest.loaders.html import load, parse


def read(source: str) -> list[tuple[str, int, str]]:
    return [(f.kind, f.level, f.text) for f in tidy(parse(source)).fragments]


def test_blocks_in_reading_order() -> None:
    assert read(
        "<h1>规则</h1>lead<p>one<br>two</p><h3>Sub</h3><pre>x\n  y</pre>"
        "<table><caption>Cap</caption><tr><th>A<th>B<tr><td>1<td></table>tail"
    ) == [
        ("heading", 1, "规则"),
        ("paragraph", 0, "lead"),
        ("paragraph", 0, "one\ntwo"),
        ("heading", 3, "Sub"),
        ("code", 0, "x\n  y"),
        ("table", 0, "Cap\nA | B\n1 |"),
        ("paragraph", 0, "tail"),
    ]


def test_what_a_reader_does_not_see_is_dropped() -> None:
    assert read(
        "<title>T</title><script>s</script><style>c</style><nav>n</nav><template>t</template>"
        "<p hidden>h</p><!-- c --><select><option>o</select><noscript>no</noscript><p>seen"
    ) == [("paragraph", 0, "seen")]


def test_lists_are_flat_and_counted() -> None:
    assert read("<ol start=3><li>a<ul><li>b</ul><li><p>c</p><p>d</p></ol>") == [("list", 0, "3. a\n- b\n4. c d")]


def test_code_and_tables_inside_a_list_keep_their_shape() -> None:
    assert read("<ul><li>run<pre>a\nb</pre>then<li>see<table><tr><td>x<td>y</table></ul>") == [
        ("list", 0, "- run"),
        ("code", 0, "a\nb"),
        ("list", 0, "then\n- see"),
        ("table", 0, "x | y"),
    ]


def test_nested_tables_are_flat_in_their_cell() -> None:
    assert read("<table><tr><td>a<td><table><tr><td>b<td>c</table><td>d</table>") == [("table", 0, "a | b c | d")]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<p>a\n  b", "a b"),
        ("<p>中文\n换行", "中文换行"),
        ("<p>中文\n<b>换行</b>", "中文换行"),
        ("<p>中文 <b>空格</b>", "中文 空格"),
        ("<p><b>x</b>y", "xy"),
        ("<p>见<img alt='图一'>。", "见图一。"),
    ],
)
def test_white_space_is_a_browsers(source: str, text: str) -> None:
    assert read(source) == [("paragraph", 0, text)]


def test_the_title_and_the_declared_charset() -> None:
    page = '<meta charset="gb2312"><title>请假 办法</title><p>年假'
    parsed = load(page.encode("gb18030"))
    assert parsed.title == "请假 办法"
    assert parsed.fragments[0].text == "年假"


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    assert read("<div>" * 20_000 + "deep") == [("paragraph", 0, "deep")]


_TAGS = ["p", "div", "ul", "ol", "li", "table", "tr", "td", "pre", "h2", "b", "br", "dl", "dt"]


@given(st.lists(st.one_of(st.sampled_from([f"<{t}>" for t in _TAGS] + [f"</{t}>" for t in _TAGS]), st.just("字"))))
def test_no_text_is_lost_or_doubled_whatever_the_markup(pieces: list[str]) -> None:
    found = "".join(block[2] for block in read("<body>" + "".join(pieces)))
    assert found.count("字") == pieces.count("字")
