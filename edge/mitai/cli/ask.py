"""`mitai ask`: a question to an attested enclave, with passages of a knowledge base."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.opening import KeySource, chosen_padding, open_enclave, open_knowledge_base
from mitai.cli.options import (
    CadenceOption,
    EnclaveOption,
    JsonOption,
    KeychainOption,
    KnowledgeBaseOption,
    LimitOption,
    NoPaddingOption,
    PassphraseFdOption,
    PassphraseFileOption,
    PolicyOption,
    TokenFdOption,
    TokenFileOption,
)
from mitai.cli.output import print_json, print_simulated, printable, safe, stderr, stdout

if TYPE_CHECKING:
    from mitai.answering.answer import Answer, AnswerStream

EXAMPLES = (
    'Example: mitai ask --kb handbook --enclave URL --policy policy.toml --token-file token "How many days of leave?"'
)


def ask(
    question: Annotated[str, typer.Argument(help="In any language.")],
    kb: KnowledgeBaseOption,
    enclave: EnclaveOption,
    policy: PolicyOption,
    limit: LimitOption = 8,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="The longest answer.")] = 256,
    show_context: Annotated[bool, typer.Option("--show-context", help="Show the passages that are sent.")] = False,
    token_fd: TokenFdOption = None,
    token_file: TokenFileOption = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    cadence: CadenceOption = None,
    no_padding: NoPaddingOption = False,
    json_: JsonOption = False,
) -> None:
    """Ask a question; the answer streams, then its citations are shown.

    The enclave is verified first; nothing is sent to one that fails. What leaves is in `mitai ledger` before it leaves.
    """
    from mitai.answering.answer import ask as ask_corpus

    padding = chosen_padding(no_padding=no_padding, cadence=cadence)
    client = open_enclave(enclave, policy, token_fd=token_fd, token_file=token_file, padding=padding)
    with client, open_knowledge_base(kb, KeySource(passphrase_fd, passphrase_file, keychain)) as base:
        if client.verify().simulated:
            print_simulated()
        with ask_corpus(base, question, client, k=limit, max_tokens=max_tokens) as stream:
            if show_context and not json_:
                print_context(stream)
            if json_:
                print_json(answer_as_json(stream.answer))
                return
            for text in stream:
                sys.stdout.write(printable(text))
                sys.stdout.flush()
            sys.stdout.write("\n")
            print_citations(stream.answer)


def print_context(stream: AnswerStream) -> None:
    """Show the passages that are about to leave."""
    stderr.print(f"[dim]{len(stream.context)} passages are sent, {stream.left_out} do not fit:[/]")
    for number, passage in enumerate(stream.context, 1):
        heading = " › ".join((passage.document.name, *passage.heading_path))
        stderr.print(f"[dim]{number}. {safe(heading)}[/]\n   {safe(' '.join(passage.text.split()))}")


def print_citations(answer: Answer) -> None:
    """Show where each sentence has its support, which have none, and the ledger row."""
    stdout.print()
    for number, citation in enumerate(answer.citations, 1):
        where = " › ".join((citation.file, *citation.heading_path)) + (
            f" · p. {citation.page}" if citation.page else ""
        )
        stdout.print(f"[cyan]\\[{number}] {safe(where)}[/] [dim]{citation.start}–{citation.end}[/]")
        stdout.print(f"    “{safe(' '.join(citation.quote.split()))}”")
    for sentence in answer.unsupported:
        stdout.print(f"[yellow]not found in the passages:[/] {safe(sentence.text)}")
    if answer.note:
        stdout.print(f"[bold yellow]{safe(answer.note)}[/]")
    if answer.finish == "length":
        stdout.print("[yellow]The answer was cut at its token limit; --max-tokens allows more.[/]")
    if answer.disclosure_id is not None:
        kind = " · SIMULATED" if answer.simulated else ""
        stderr.print(f"[dim]ledger row {answer.disclosure_id} · measurement {answer.measurement[:16]}…{kind}[/]")


def answer_as_json(answer: Answer) -> dict[str, object]:
    """Return an answer with its sentences, citations and receipt as one JSON object."""
    return {
        "question": answer.question,
        "text": answer.text,
        "grounding": answer.grounding.value,
        "finish": answer.finish,
        "simulated": answer.simulated,
        "measurement": answer.measurement,
        "ledger": answer.disclosure_id,
        "citations": [
            {
                "passage": c.passage_id,
                "file": c.file,
                "page": c.page,
                "headings": list(c.heading_path),
                "start": c.start,
                "end": c.end,
                "quote": c.quote,
                "score": round(c.score, 4),
            }
            for c in answer.citations
        ],
        "unsupported": [sentence.text for sentence in answer.unsupported],
        "context": [{"passage": p.passage_id, "document": p.document.name, "start": p.start} for p in answer.context],
        "receipt": None if answer.receipt is None else json.loads(answer.receipt.encode()),
    }
