"""How does `mitai ledger` show rows, and what came of checking them again?"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.table import Table

from mitai.cli.output import print_first_use, print_json, print_simulated, safe, stderr, stdout
from mitai.disclosure import DisclosureKind
from mitai.errors import ReceiptError
from mitai.receipt_record import parse_receipt_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai.recheck import Recheck
    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.policy import TrustPolicy

_SHORT = 16
_NOTE = (
    "Evidence was appraised as of the time at which this device says that it was fetched, and this device chose the "
    "nonces. Nothing here shows that no row is missing."
)
_COLOURS = {"verified": "green", "no receipt": "yellow", "not sealed": "yellow", "failed": "bold red"}


@dataclass(frozen=True)
class ShownRow:
    """A row beside its neighbours.

    Attributes:
        record: The row.
        new_material: Whether the sealed row before for the same address had other crypto material.
    """

    record: DisclosureRecord
    new_material: bool


def compare_rows(records: Iterable[DisclosureRecord]) -> list[ShownRow]:
    """Mark every row whose enclave showed other keys than the last time (threat 30)."""
    last: dict[str, str | None] = {}
    shown: list[ShownRow] = []
    for record in records:
        changed = False
        if record.kind is DisclosureKind.SEALED:
            changed = record.url in last and last[record.url] != record.crypto_material
            last[record.url] = record.crypto_material
        shown.append(ShownRow(record, changed))
    return shown


def row_as_json(row: ShownRow, *, with_text: bool) -> dict[str, object]:
    """Give a row as `--json` reports it."""
    record = row.record
    shown: dict[str, object] = {
        "id": record.disclosure_id,
        "kind": record.kind.value,
        "time": record.time,
        "url": record.url,
        "tee": record.tee,
        "simulated": record.simulated,
        "measurement": record.measurement,
        "policy": {"name": record.policy_name, "digest": record.policy_digest},
        "request_digest": record.request_digest,
        "attempt": record.attempt,
        "outcome": record.outcome.value,
        "crypto_material": record.crypto_material,
        "crypto_material_changed": row.new_material,
        "evidence": record.evidence,
        "passages": list(record.passage_ids),
        "documents": list(record.document_ids),
        "receipt": None if record.receipt is None else json.loads(record.receipt),
    }
    if with_text:
        shown["text"] = record.text
    return shown


def print_rows(rows: list[ShownRow]) -> None:
    """Print one line a row."""
    if not rows:
        stderr.print("Nothing has left this knowledge base.")
        return
    table = Table(box=None, header_style="dim")
    names = (
        "id",
        "time",
        "kind",
        "outcome",
        "passages",
        "documents",
        "TEE",
        "measurement",
        "keys",
        "policy",
        "enclave",
    )
    for column in names:
        table.add_column(column, justify="right" if column in {"id", "passages"} else "left", overflow="fold")
    for row in rows:
        record = row.record
        material = "–" if record.crypto_material is None else f"{record.crypto_material[:_SHORT]}…"
        table.add_row(
            str(record.disclosure_id),
            _time(record.time),
            record.kind.value if record.kind is DisclosureKind.SEALED else f"[bold yellow]{record.kind.value}[/]",
            record.outcome.value,
            str(len(record.passage_ids)),
            ",".join(map(str, record.document_ids)),
            "SIMULATED" if record.simulated else (safe(record.tee) or "–"),
            f"{safe(record.measurement[:_SHORT])}…" if record.measurement else "–",
            f"{material} [yellow]changed[/]" if row.new_material else material,
            safe(record.policy_name),
            safe(record.url),
        )
    stdout.print(table)


def print_row(row: ShownRow) -> None:
    """Print one row in full."""
    for name, value in row_as_json(row, with_text=False).items():
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        stdout.print(f"[dim]{name:>23}[/]  {safe(text)}")
    if row.record.text is None:
        stdout.print(f"[dim]{'text':>23}[/]  deleted with one of its documents")
    else:
        stdout.print(f"[dim]{'text':>23}[/]\n{safe(row.record.text)}")


def print_recheck(checked: Recheck, records: Iterable[DisclosureRecord], policy: TrustPolicy, *, as_json: bool) -> None:
    """Print what came of every row, then the sum."""
    if as_json:
        print_json(_recheck_as_json(checked, policy))
        return
    if checked.simulated:
        print_simulated()
    table = Table(box=None, header_style="dim")
    for column in ("id", "sent", "outcome", "finish", "TEE", "reason"):
        table.add_column(column, justify="right" if column == "id" else "left", overflow="fold")
    for result, record in zip(checked.results, records, strict=True):
        table.add_row(
            str(result.disclosure_id),
            _time(record.time),
            f"[{_COLOURS[result.outcome.value]}]{result.outcome.value}[/]",
            _finish(record),
            "SIMULATED" if result.simulated else (safe(record.tee) or "–"),
            safe(result.reason),
        )
    stdout.print(table)
    counts = Counter(result.outcome.value for result in checked.results)
    told = ", ".join(f"{number} {outcome}" for outcome, number in counts.items()) or "nothing has left"
    stdout.print(
        f"{'[bold green]OK[/]' if checked.ok else '[bold red]FAILED[/]'} · {told} · policy {safe(policy.name)}"
    )
    if policy.trust_on_first_use:
        print_first_use()
    stdout.print(f"[yellow]note[/] {_NOTE}")


def _recheck_as_json(checked: Recheck, policy: TrustPolicy) -> dict[str, object]:
    return {
        "ok": checked.ok,
        "simulated": checked.simulated,
        "policy": {
            "name": policy.name,
            "digest": policy.digest,
            "trust_on_first_use": policy.trust_on_first_use,
        },
        "rows": [
            {
                "id": result.disclosure_id,
                "outcome": result.outcome.value,
                "reason": result.reason,
                "simulated": result.simulated,
                "evidence": result.evidence,
            }
            for result in checked.results
        ],
        "evidence": [
            {
                "digest": digest,
                "url": shown.evidence.url,
                "time": shown.evidence.time,
                "report": shown.report.to_json(),
            }
            for digest, shown in checked.evidence.items()
        ],
        "notes": [_NOTE],
    }


def _finish(record: DisclosureRecord) -> str:
    if record.receipt is None:
        return "–"
    try:
        return parse_receipt_record(record.receipt).receipt.finish
    except ReceiptError:
        return "?"


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
