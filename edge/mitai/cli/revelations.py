"""What `mitai ledger` shows of what MCP clients were given."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from mitai.cli.output import print_json, safe, stdout

if TYPE_CHECKING:
    from mitai.storage.revelations import RevelationRecord


def revelation_as_json(row: RevelationRecord) -> dict[str, object]:
    """Return a row without its text."""
    return {
        "id": row.revelation_id,
        "time": row.time,
        "client": row.client,
        "tool": row.tool,
        "passages": list(row.passage_ids),
        "documents": list(row.document_ids),
    }


def print_revelations(rows: list[RevelationRecord]) -> None:
    """Show the rows; nothing where there are none."""
    if not rows:
        return
    stdout.print("\n[bold yellow]Given to MCP clients in the clear[/] (their models are not attested):")
    table = Table(box=None, header_style="dim")
    for column in ("id", "time", "tool", "passages", "documents", "client"):
        table.add_column(column, justify="right" if column in {"id", "passages"} else "left", overflow="fold")
    for row in rows:
        table.add_row(
            str(row.revelation_id),
            f"{datetime.fromtimestamp(row.time, UTC):%Y-%m-%d %H:%M:%S}",
            row.tool,
            str(len(row.passage_ids)),
            ",".join(map(str, row.document_ids)),
            safe(row.client),
        )
    stdout.print(table)


def print_revealed(rows: list[RevelationRecord], number: int, *, as_json: bool) -> None:
    """Show one row in full, with the text that was given."""
    row = next((row for row in rows if row.revelation_id == number), None)
    if row is None:
        raise typer.BadParameter(f"there is no row {number}", param_hint="N")
    if as_json:
        print_json({"revelations": [revelation_as_json(row) | {"text": row.text}]})
        return
    for name, value in revelation_as_json(row).items():
        stdout.print(f"[dim]{name:>14}[/]  {safe(str(value))}")
    given = "deleted with one of its documents" if row.text is None else f"\n{safe(row.text)}"
    stdout.print(f"[dim]          text[/]  {given}")
