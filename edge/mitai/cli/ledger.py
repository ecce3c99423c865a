"""`mitai ledger`: what left the device, to whom, and what came back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mitai.cli.opening import KeySource, open_knowledge_base
from mitai.cli.options import JsonOption, KeychainOption, KnowledgeBaseOption, PassphraseFdOption, PassphraseFileOption
from mitai.cli.output import print_json, safe, stderr, stdout
from mitai.cli.revelations import print_revealed, print_revelations, revelation_as_json

if TYPE_CHECKING:
    from mitai.storage.ledger import DisclosureRecord

EXAMPLES = "Example: mitai ledger --kb handbook · mitai ledger --kb handbook --show 3"


def ledger(
    kb: KnowledgeBaseOption,
    show: Annotated[
        int | None, typer.Option("--show", help="Show one row in full, with the text that was sent.", metavar="N")
    ] = None,
    show_revealed: Annotated[
        int | None,
        typer.Option("--show-revealed", help="Show what an MCP client was given, in full.", metavar="N"),
    ] = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """List what left the device: when, to which measurement, under which policy, with which outcome.

    Then what MCP clients were given in the clear: their models are not attested.
    """
    with open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
        rows = base.ledger.list_disclosures()
        revealed = base.revelations.list_revelations()
    if show_revealed is not None:
        print_revealed(revealed, show_revealed, as_json=json_)
        return
    if show is not None:
        rows = [row for row in rows if row.disclosure_id == show]
        if not rows:
            raise typer.BadParameter(f"there is no row {show}", param_hint="--show")
    if json_:
        told = {"disclosures": [_as_json(row, with_text=show is not None) for row in rows]}
        print_json(told if show is not None else told | {"revelations": [revelation_as_json(row) for row in revealed]})
    elif show is not None:
        _print_row(rows[0])
    else:
        _print_rows(rows)
        print_revelations(revealed)


def _as_json(row: DisclosureRecord, *, with_text: bool) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": row.disclosure_id,
        "time": row.time,
        "url": row.url,
        "tee": row.tee,
        "simulated": row.simulated,
        "measurement": row.measurement,
        "policy": {"name": row.policy_name, "digest": row.policy_digest},
        "request_digest": row.request_digest,
        "attempt": row.attempt,
        "outcome": row.outcome.value,
        "passages": list(row.passage_ids),
        "documents": list(row.document_ids),
        "receipt": None if row.receipt is None else json.loads(row.receipt),
    }
    if with_text:
        shown["text"] = row.text
    return shown


def _print_rows(rows: list[DisclosureRecord]) -> None:
    if not rows:
        stderr.print("Nothing has left this knowledge base.")
        return
    table = Table(box=None, header_style="dim")
    for column in ("id", "time", "outcome", "passages", "documents", "TEE", "measurement", "policy", "enclave"):
        table.add_column(column, justify="right" if column in {"id", "passages"} else "left", overflow="fold")
    for row in rows:
        table.add_row(
            str(row.disclosure_id),
            f"{datetime.fromtimestamp(row.time, UTC):%Y-%m-%d %H:%M:%S}",
            row.outcome.value,
            str(len(row.passage_ids)),
            ",".join(map(str, row.document_ids)),
            "SIMULATED" if row.simulated else row.tee,
            row.measurement[:16] + "…",
            safe(row.policy_name),
            safe(row.url),
        )
    stdout.print(table)


def _print_row(row: DisclosureRecord) -> None:
    shown = _as_json(row, with_text=False)
    for name, value in shown.items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        stdout.print(f"[dim]{name:>14}[/]  {safe(text)}")
    if row.text is None:
        stdout.print("[dim]          text[/]  deleted with one of its documents")
    else:
        stdout.print(f"[dim]          text[/]\n{safe(row.text)}")
