"""`mitai ledger`: what left the device, to whom, what came back, and whether it can still be proven."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.exit_codes import ExitCode
from mitai.cli.ledger_view import compare_rows, print_recheck, print_row, print_rows, row_as_json
from mitai.cli.opening import KeySource, open_knowledge_base
from mitai.cli.options import (
    JsonOption,
    KeychainOption,
    KnowledgeBaseOption,
    PassphraseFdOption,
    PassphraseFileOption,
    PolicyOption,
)
from mitai.cli.output import print_json, stderr
from mitai.cli.revelations import print_revealed, print_revelations, revelation_as_json
from mitai.errors import LedgerFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.saved_evidence import SavedEvidence

EXAMPLES = (
    "Example: mitai ledger --kb handbook · mitai ledger show 3 --kb handbook · "
    "mitai ledger verify --kb handbook --policy policy.toml"
)

app = typer.Typer(
    help="What left the device: list it, show it, check its receipts again, export it.", invoke_without_command=True
)


@app.callback()
def ledger(
    context: typer.Context,
    kb: Annotated[
        str | None, typer.Option("--kb", envvar="MITAI_KB", help="Knowledge base to list.", metavar="NAME|PATH")
    ] = None,
    show: Annotated[int | None, typer.Option("--show", help="The same as `show N`.", metavar="N")] = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """What left the device: when, to which measurement, under which policy, with which outcome."""
    if context.invoked_subcommand is not None:
        return
    if kb is None:
        raise typer.BadParameter("a knowledge base is needed", param_hint="--kb")
    if show is None:
        list_(kb, passphrase_fd, passphrase_file, keychain, json_)
    else:
        show_(show, kb, False, passphrase_fd, passphrase_file, keychain, json_)


@app.command("list", epilog="Example: mitai ledger list --kb handbook --json")
def list_(
    kb: KnowledgeBaseOption,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """List all rows; `changed` marks an enclave that showed other keys than the last time.

    Then what MCP clients were given in the clear: their models are not attested.
    """
    with open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
        rows = compare_rows(base.ledger.list_disclosures())
        revealed = base.revelations.list_revelations()
    if json_:
        told = [revelation_as_json(row) for row in revealed]
        print_json({"disclosures": [row_as_json(row, with_text=False) for row in rows], "revelations": told})
    else:
        print_rows(rows)
        print_revelations(revealed)


@app.command("show", epilog="Example: mitai ledger show 3 --kb handbook")
def show_(
    number: Annotated[int, typer.Argument(help="The row.", metavar="N")],
    kb: KnowledgeBaseOption,
    revealed: Annotated[bool, typer.Option("--revealed", help="Of what MCP clients were given.")] = False,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """Show one row in full, with the text that was sent."""
    if revealed:
        with open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
            print_revealed(base.revelations.list_revelations(), number, as_json=json_)
        return
    rows = compare_rows(_read(kb, KeySource(passphrase_fd, passphrase_file, keychain))[0])
    row = next((row for row in rows if row.record.disclosure_id == number), None)
    if row is None:
        raise typer.BadParameter(f"there is no row {number}", param_hint="N")
    if json_:
        print_json({"disclosures": [row_as_json(row, with_text=True)]})
    else:
        print_row(row)


@app.command(
    epilog="Example: mitai ledger verify --kb handbook --policy policy.toml · "
    "mitai ledger verify --file ledger.jsonl --policy policy.toml --json"
)
def verify(
    policy: PolicyOption,
    kb: Annotated[
        str | None, typer.Option("--kb", envvar="MITAI_KB", help="Check this knowledge base.", metavar="NAME|PATH")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Check this export instead; no knowledge base is opened.")
    ] = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """Check every receipt again, and the evidence it rests on as of then. Needs no network.

    Exit code 7 when a row fails.
    """
    from mitai.policy_file import load_policy
    from mitai.recheck import recheck

    demanded = load_policy(policy)
    if file is not None:
        rows, evidence = _read_file(file)
    elif kb is not None:
        rows, evidence = _read(kb, KeySource(passphrase_fd, passphrase_file, keychain))
    else:
        raise typer.BadParameter("a knowledge base or an export is needed", param_hint="--kb or --file")
    checked = recheck(rows, evidence, demanded)
    print_recheck(checked, rows, demanded, as_json=json_)
    if not checked.ok:
        raise typer.Exit(ExitCode.UNVERIFIED)


@app.command(epilog="Example: mitai ledger export --kb handbook --output ledger.jsonl")
def export(
    kb: KnowledgeBaseOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file (mode 0600); stdout if none is named.")
    ] = None,
    with_text: Annotated[bool, typer.Option("--with-text", help="Export what was sent, too.")] = False,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
) -> None:
    """Write all rows and their evidence as JSON Lines (docs/spec/ledger.md), for `verify --file` and other programs."""
    from mitai.ledger_file import encode_ledger

    rows, evidence = _read(kb, KeySource(passphrase_fd, passphrase_file, keychain))
    lines = encode_ledger(rows, evidence, with_text=with_text)
    if output is None:
        sys.stdout.buffer.writelines(lines)
        sys.stdout.buffer.flush()
        return
    _write_new(output, lines)
    stderr.print(f"{len(rows)} rows written to {output}")


def _read(kb: str, source: KeySource) -> tuple[list[DisclosureRecord], dict[str, SavedEvidence]]:
    with open_knowledge_base(kb, source) as base:
        return base.ledger.list_disclosures(), base.ledger.list_evidence()


def _read_file(path: Path) -> tuple[list[DisclosureRecord], dict[str, SavedEvidence]]:
    from mitai.ledger_file import read_ledger

    try:
        with path.open("rb") as stream:
            read = read_ledger(stream)
    except OSError as error:
        raise LedgerFileError(f"the export {path} cannot be read ({error.strerror})", hint="Check the path.") from None
    return list(read.rows), dict(read.evidence)


def _write_new(path: Path, lines: Iterable[bytes]) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise LedgerFileError(
            f"{path} cannot be written ({error.strerror})", hint="Name a file that does not exist yet."
        ) from None
    with os.fdopen(descriptor, "wb") as stream:
        stream.writelines(lines)
