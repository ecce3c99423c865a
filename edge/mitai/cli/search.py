"""`mitai search`: passages for a query, on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.opening import KeySource, open_knowledge_base
from mitai.cli.options import (
    JsonOption,
    KeychainOption,
    KnowledgeBaseOption,
    LimitOption,
    PassphraseFdOption,
    PassphraseFileOption,
)
from mitai.cli.output import print_json, safe, stderr, stdout

if TYPE_CHECKING:
    from mitai.retrieve import Hit

EXAMPLES = 'Example: mitai search --kb handbook "annual leave" · mitai search --kb handbook 年假 -k 3 --json'
_SNIPPET = 300


def search(
    query: Annotated[str, typer.Argument(help="Words or a question, in any language.")],
    kb: KnowledgeBaseOption,
    limit: LimitOption = 8,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    json_: JsonOption = False,
) -> None:
    """Find passages; nothing leaves the device."""
    with open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
        hits = base.search(query, k=limit)
    if json_:
        print_json({"query": query, "hits": [hit_as_json(hit) for hit in hits]})
        return
    for number, hit in enumerate(hits, 1):
        stdout.print(f"[bold]{number}.[/] [cyan]{safe(place(hit))}[/]  [dim]{_why(hit)}[/]")
        text = " ".join(hit.text.split())
        stdout.print(f"   {safe(text[:_SNIPPET])}{'…' if len(text) > _SNIPPET else ''}\n")
    if not hits:
        stderr.print("Nothing was found.")


def place(hit: Hit) -> str:
    """Return where a passage stands: file, headings, page."""
    parts = [hit.document.name, *hit.heading_path]
    return " › ".join(parts) + (f" · p. {hit.page}" if hit.page else "")


def hit_as_json(hit: Hit) -> dict[str, object]:
    """Return a hit with its provenance and its ranks."""
    return {
        "passage": hit.passage_id,
        "document": hit.document.name,
        "path": str(hit.document.path),
        "headings": list(hit.heading_path),
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "score": round(hit.score, 6),
        "lexical_rank": hit.lexical_rank,
        "dense_rank": hit.dense_rank,
        "text": hit.text,
    }


def _why(hit: Hit) -> str:
    ranks = [("words", hit.lexical_rank), ("meaning", hit.dense_rank)]
    return ", ".join(f"{name} #{rank}" for name, rank in ranks if rank is not None)
