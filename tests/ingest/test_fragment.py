from __future__ import annotations

from mitai_ingest.fragment import Fragment, Parsed, table_row, tidy


def test_a_table_row_keeps_empty_cells_and_drops_empty_rows() -> None:
    assert table_row(["a", "", " c\nd "]) == "a |  | c d"
    assert table_row(["", " \n"]) == ""


def test_tidy_normalises_by_kind_and_drops_what_is_empty() -> None:
    parsed = Parsed(
        " A\n title ",
        (
            Fragment("heading", "One\ntwo", level=1),
            Fragment("paragraph", "a  b\nc"),
            Fragment("paragraph", "\u200b \n"),
            Fragment("code", "\tx\n"),
        ),
    )
    tidied = tidy(parsed)
    assert tidied.title == "A title"
    assert [fragment.text for fragment in tidied.fragments] == ["One two", "a b\nc", "    x"]


def test_content_does_not_show_in_repr() -> None:
    assert "secret" not in repr(Parsed("secret", (Fragment("paragraph", "secret"),)))
