"""`mitai kb`: create, list, look into and remove knowledge bases."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mitai.cli.opening import KeySource, open_knowledge_base
from mitai.cli.options import JsonOption, KeychainOption, PassphraseFdOption, PassphraseFileOption
from mitai.cli.output import print_json, safe, stderr, stdout
from mitai.cli.places import knowledge_base_path, knowledge_base_root
from mitai.errors import KnowledgeBaseExists

if TYPE_CHECKING:
    from pathlib import Path

app = typer.Typer(help="Create, list, look into and remove knowledge bases.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME|PATH", help="A name, or the path of a folder.")]


@app.command(epilog="Example: mitai kb create handbook · mitai kb create ./handbook.kb --passphrase-fd 3 3<secret")
def create(
    name: NameArgument,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: Annotated[
        bool, typer.Option("--keychain", help="Also add a key slot in the operating system's keychain.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Make an empty, encrypted knowledge base.

    The passphrase cannot be reset: without a key slot that opens, the content is lost.
    """
    from mitai.knowledge_base import KnowledgeBase

    path = knowledge_base_path(name)
    source = KeySource(passphrase_fd, passphrase_file)
    _require_absent(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    passphrase = source.passphrase("New passphrase", confirm=True)
    stderr.print("Deriving the key: this takes a second on purpose …")
    with KnowledgeBase.create(path, passphrase=passphrase, keychain=keychain) as kb:
        if json_:
            print_json({"name": kb.info().name, "path": str(path)})
        else:
            stdout.print(f"Created {safe(str(path))}")
            stderr.print(f"Next: mitai ingest --kb {safe(name)} FOLDER")


@app.command("list", epilog="Example: mitai kb list --json")
def list_(json_: JsonOption = False) -> None:
    """List the knowledge bases that are called by name; no key is needed."""
    from mitai.knowledge_base import KnowledgeBase

    found = KnowledgeBase.all_in(knowledge_base_root())
    if json_:
        print_json({"folder": str(knowledge_base_root()), "knowledge_bases": [path.name for path in found]})
        return
    for path in found:
        stdout.print(safe(path.name))
    if not found:
        stderr.print("There is none yet. Make one: mitai kb create NAME")


@app.command(epilog="Example: mitai kb info handbook")
def info(
    name: NameArgument,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """Show what is in a knowledge base: its documents, passages and embedding model."""
    with open_knowledge_base(name, KeySource(passphrase_fd, passphrase_file, keychain)) as kb:
        facts, documents = kb.info(), kb.documents()
    if json_:
        print_json(
            {
                "name": facts.name,
                "created": facts.created,
                "model": facts.model_id,
                "reveal_passages": facts.reveals_passages,
                "documents": [
                    {
                        "id": d.document_id,
                        "path": str(d.path),
                        "title": d.title,
                        "type": d.media_type,
                        "passages": d.passage_count,
                        "ingested": d.ingested,
                    }
                    for d in documents
                ],
            }
        )
        return
    stdout.print(f"[bold]{safe(facts.name)}[/]: {facts.documents} documents, {facts.passages} passages")
    stdout.print(f"created {_day(facts.created)} · embedding model {safe(facts.model_id or 'none yet')}")
    stdout.print(_revealing(allowed=facts.reveals_passages))
    table = Table(box=None, header_style="dim")
    for column in ("id", "document", "title", "type", "passages", "ingested"):
        table.add_column(column, justify="right" if column in {"id", "passages"} else "left", overflow="fold")
    for d in documents:
        cells = (str(d.document_id), d.name, d.title, d.media_type, str(d.passage_count), _day(d.ingested))
        table.add_row(*map(safe, cells))
    stdout.print(table)


@app.command("set", epilog="Example: mitai kb set handbook --reveal-passages")
def set_(
    name: NameArgument,
    reveal_passages: Annotated[
        bool,
        typer.Option(
            "--reveal-passages/--no-reveal-passages",
            help="Whether an MCP client may be given passages word for word: its model is not attested.",
        ),
    ],
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
) -> None:
    """Change a setting of a knowledge base; it is kept inside, encrypted, and holds from the next request on."""
    with open_knowledge_base(name, KeySource(passphrase_fd, passphrase_file, keychain)) as kb:
        kb.set_reveal_passages(allowed=reveal_passages)
    stdout.print(_revealing(allowed=reveal_passages))


@app.command(epilog="Example: mitai kb remove handbook · mitai kb remove handbook --document 3")
def remove(
    name: NameArgument,
    document: Annotated[
        list[int] | None, typer.Option("--document", help="Remove only this document (its id in `mitai kb info`).")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
) -> None:
    """Remove a knowledge base for good, or single documents of it."""
    from mitai.knowledge_base import KnowledgeBase

    if document:
        with open_knowledge_base(name, KeySource(passphrase_fd, passphrase_file, keychain)) as kb:
            for number in document:
                removal = kb.remove(number)
                stdout.print(f"Removed document {number}: {removal.passages} passages, {removal.sent_texts} sent texts")
        return
    path = knowledge_base_path(name)
    KnowledgeBase.require(path)
    if not yes:
        typer.confirm(f"Remove {path} with everything in it? This cannot be undone", abort=True, err=True)
    KnowledgeBase.delete(path)
    stdout.print(f"Removed {safe(str(path))}")


def _require_absent(path: Path) -> None:
    # Before the passphrase is asked for; creating checks once more.
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise KnowledgeBaseExists(f"{path} exists already")


def _revealing(*, allowed: bool) -> str:
    if allowed:
        return "[bold yellow]MCP clients are given passages word for word[/] [dim](--no-reveal-passages ends it)[/]"
    return "MCP clients are given no passages, only answers [dim](--reveal-passages changes it)[/]"


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
