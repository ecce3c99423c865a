"""How does `mitai verify` show an appraisal?"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from mitai.cli.output import print_first_use, print_simulated, safe, stdout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai_crypto.report import VerificationReport
    from mitai_crypto.saved_evidence import SavedEvidence
    from mitai_crypto.verify import AttestationResult

_COLOURS = {"pass": "green", "fail": "bold red", "not checked": "yellow"}


@dataclass(frozen=True)
class Shown:
    """An appraisal and where its evidence came from.

    Attributes:
        report: Every step.
        result: The verified enclave, if the report is `ok`.
        evidence: What was appraised.
        source: `fetched` or `saved`.
        notes: What a reader must know.
    """

    report: VerificationReport
    result: AttestationResult | None
    evidence: SavedEvidence | None
    source: str
    notes: tuple[str, ...]


def shown_as_json(shown: Shown) -> dict[str, object]:
    """Give the report, the evidence it is about, and what was verified."""
    return {
        **shown.report.to_json(),
        "evidence": None if shown.evidence is None else _evidence(shown.evidence, shown.source),
        "enclave": None if shown.result is None else _enclave(shown.result),
        "notes": list(shown.notes),
    }


def print_report(report: VerificationReport, *, notes: Iterable[str] = ()) -> None:
    """Print the numbered steps, then the verdict and the notes."""
    if report.simulated:
        print_simulated()
    table = Table(box=None, header_style="dim", padding=(0, 1))
    table.add_column("#", justify="right")
    table.add_column("step", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for step in report.steps:
        colour = _COLOURS[step.outcome.value]
        table.add_row(str(step.number), step.title, f"[{colour}]{step.outcome.value}[/]", safe(step.reason))
    stdout.print(table)
    verdict = "[bold green]VERIFIED[/]" if report.ok else "[bold red]NOT VERIFIED[/]"
    kind = "SIMULATED" if report.simulated else (report.tee.value if report.tee else "unknown")
    stdout.print(f"{verdict} · TEE {kind} · policy {safe(report.policy_name)}")
    if report.measurement:
        stdout.print(f"measurement {report.measurement}")
    if report.ok:
        stdout.print(
            "[dim]The wire still shows when something is asked and how long answers are (spec/sizes.md §5).[/]"
        )
    if report.trust_on_first_use:
        print_first_use()
    for note in notes:
        stdout.print(f"[yellow]note[/] {safe(note)}")


def _evidence(evidence: SavedEvidence, source: str) -> dict[str, object]:
    return {
        "source": source,
        "digest": evidence.digest,
        "url": evidence.url,
        "time": evidence.time,
        "nonce": base64.b64encode(evidence.nonce).decode(),
    }


def _enclave(result: AttestationResult) -> dict[str, object]:
    material = result.material
    return {
        "engine": material.engine,
        "model": {"name": material.model_name, "digest": material.model_digest},
        "configuration": material.configuration,
        "crypto_material": result.crypto_material_digest.hex(),
        "receipt_key": base64.b64encode(result.receipt_key).decode(),
        "keys": [
            {"fingerprint": key.key_config().fingerprint, "not_before": key.not_before, "not_after": key.not_after}
            for key in result.keys
        ],
        "usable_until": result.usable_until,
    }
