"""`mitai ingest`: files and folders into a knowledge base."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from mitai.cli.exit_codes import ExitCode
from mitai.cli.opening import KeySource, open_knowledge_base
from mitai.cli.options import JsonOption, KeychainOption, KnowledgeBaseOption, PassphraseFdOption, PassphraseFileOption
from mitai.cli.output import print_json, safe, stderr

if TYPE_CHECKING:
    from types import FrameType

    from mitai import ingestion

EXAMPLES = "Example: mitai ingest --kb handbook ~/Documents/handbook · mitai ingest --kb handbook contract.pdf --json"


def ingest(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH…", help="Files and folders.", exists=True)],
    kb: KnowledgeBaseOption,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """Read documents into a knowledge base; what is in it unchanged is skipped.

    A file that cannot be read is named with the reason and does not stop the others (exit code 5 at the end).
    Ctrl-C stops after the document at hand; the next run goes on there.
    """
    with open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
        cancel = _cancel_on_interrupt()
        bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[passages]} passages"),
            TimeRemainingColumn(),
            console=stderr,
            transient=True,
            disable=json_,
        )
        with bar:
            task = bar.add_task("Reading", total=None, passages=0)

            def show(progress: ingestion.Progress) -> None:
                bar.update(
                    task,
                    total=progress.total,
                    completed=progress.files,
                    passages=progress.passages,
                    description=safe(progress.path.name[:40]),
                )

            summary = base.ingest(paths, on_progress=show, cancel=cancel)
    if json_:
        print_json(_as_json(summary))
    else:
        _print_summary(summary)
    if summary.cancelled:
        raise typer.Exit(ExitCode.CANCELLED)
    if summary.failed:
        raise typer.Exit(ExitCode.PARTIAL)


def _cancel_on_interrupt() -> threading.Event:
    """Return an event that the first Ctrl-C sets; the second one interrupts as usual."""
    cancel = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        cancel.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stderr.print("Stopping after this document … (Ctrl-C again: at once; nothing half stored)")

    signal.signal(signal.SIGINT, handle)
    return cancel


def _as_json(summary: ingestion.IngestSummary) -> dict[str, object]:
    return {
        "added": summary.added,
        "replaced": summary.replaced,
        "unchanged": summary.unchanged,
        "passages": summary.passages,
        "not_isolated": summary.not_isolated,
        "cancelled": summary.cancelled,
        "failed": [
            {"path": str(f.path), "type": type(f.error).__name__, "reason": str(f.error), "hint": f.error.hint}
            for f in summary.failed
        ],
    }


def _print_summary(summary: ingestion.IngestSummary) -> None:
    stderr.print(
        f"[bold]{summary.added}[/] added, {summary.replaced} replaced, {summary.unchanged} unchanged, "
        f"{len(summary.failed)} failed · {summary.passages} passages stored"
        + (" · cancelled" if summary.cancelled else "")
    )
    if summary.not_isolated:
        stderr.print(f"{summary.not_isolated} parsed without isolation: this platform could not confine the parser")
    if not summary.failed:
        return
    table = Table(box=None, header_style="dim")
    for column in ("not read", "reason", "what helps"):
        table.add_column(column, overflow="fold")
    for failed in summary.failed:
        table.add_row(safe(failed.path.name), safe(str(failed.error)), safe(failed.error.hint))
    stderr.print(table)
