"""The demo as a person sees it: six steps, each with what it proves, and a way to go on by hand."""

from __future__ import annotations

import secrets
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule

from mitai.answering.answer import ask
from mitai.cli.ask import print_citations
from mitai.cli.demo.operator_view import OperatorView
from mitai.cli.demo.questions import Question, load_questions
from mitai.cli.demo.stage import Stage, write_private
from mitai.cli.output import safe
from mitai.cli.verify_view import print_report
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from mitai.models import locate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from mitai.answering.answer import Answer

ENCLAVE_MODEL: Final = "SmolLM2-135M-Instruct"
PASSAGES: Final = 2  # what a model of this size answers best from (ADR 0065)
MAX_TOKENS: Final = 96
_HEX_BYTES: Final = 576
_HEX_WIDTH: Final = 24
_LONG_WORD: Final = 8  # shorter ones stand in header fields (no-store) or turn up in ciphertext by chance
_KNOWLEDGE_BASE: Final = "demo.kb"

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def run(documents: Path, questions_file: Path, *, keep: bool) -> None:
    """Run the demo; clean up whatever happens.

    Raises:
        MitaiError: A step failed; its message says which and why.
    """
    _end_cleanly_on_signals()
    began = time.monotonic()
    questions = [question for question in load_questions(questions_file) if question.demo]
    with Stage(locate(ENCLAVE_MODEL)) as stage:
        _title(1, "Measure, then start the simulated enclave")
        policy = stage.reference_policy()
        write_private(stage.folder / "policy.toml", policy.encode())
        console.print(
            "The trust policy pins the reference value of what [bold]should[/] start, measured before anything runs."
        )
        stage.start()
        console.print("The enclave is starting: sidecar and vLLM on CPU. Meanwhile, on the device:")
        passphrase = secrets.token_urlsafe(16)
        write_private(stage.folder / "passphrase", passphrase + "\n")
        with KnowledgeBase.create(stage.folder / _KNOWLEDGE_BASE, passphrase=passphrase) as kb:
            _fill(kb, documents)
            with console.status("Waiting for vLLM to load the model (a minute on two cores) …"):
                stage.wait_ready()
            console.print(f"The enclave is ready after {time.monotonic() - began:.0f} s: {stage.url}")
            with (
                OperatorView(stage.url) as operator,
                EnclaveClient(operator.url, policy=policy, token=stage.token) as enclave,
            ):
                _title(3, "Verify the enclave")
                print_report(enclave.verify().report)
                answers = _ask_all(kb, enclave, questions)
                _show_ledger(kb, answers)
                _show_operator(operator, answers)
        if keep:
            _keep(stage)
    console.print(f"\nDone in {time.monotonic() - began:.0f} s; everything of the demo was removed.")


def _end_cleanly_on_signals() -> None:
    """Let a hang-up, a termination or Ctrl-C unwind, also where a shell started us with them ignored."""

    def leave(number: int, frame: FrameType | None) -> None:
        del frame
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _title(number: int, text: str) -> None:
    console.print()
    console.print(Rule(f"[bold]{number} · {text}[/]", align="left"))


def _fill(kb: KnowledgeBase, documents: Path) -> None:
    _title(2, "Build an encrypted knowledge base on the device")
    began = time.monotonic()
    summary = kb.ingest([documents])
    console.print(
        f"{summary.added} documents, {summary.passages} passages, {len(summary.failed)} failed, "
        f"in {time.monotonic() - began:.1f} s · one SQLCipher file"
    )
    for failed in summary.failed:
        console.print(f"[yellow]{safe(failed.path.name)}: {safe(str(failed.error))}[/]")


def _ask_all(kb: KnowledgeBase, enclave: EnclaveClient, questions: Sequence[Question]) -> list[Answer]:
    _title(4, "Ask, sealed to the verified key")
    console.print(
        "The demo's model has 135 million parameters and knows English only: a question in Chinese shows retrieval and "
        "citation; for answers in Chinese serve a larger model."
    )
    answers = []
    for question in questions:
        console.print(f"\n[bold magenta]{safe(question.text)}[/]")
        with ask(kb, question.text, enclave, k=PASSAGES, max_tokens=MAX_TOKENS) as stream:
            best = stream.context[0]
            console.print(
                f"[dim]{len(stream.context)} passages retrieved; the best, from {safe(best.document.name)}:[/]"
            )
            console.print(f"[dim]  {safe(' '.join(best.text.split()))}[/]")
            for text in stream:
                console.print(safe(text), end="", soft_wrap=True)
            console.print()
            print_citations(stream.answer)
            answers.append(stream.answer)
    return answers


def _show_ledger(kb: KnowledgeBase, answers: Sequence[Answer]) -> None:
    _title(5, "What left the device, and its receipt")
    for row in kb.ledger.list_disclosures():
        documents = ", ".join(map(str, row.document_ids))
        console.print(
            f"row {row.disclosure_id}: {len(row.passage_ids)} passages of documents {documents} "
            f"→ {row.tee.upper()} {row.measurement[:16]}… · policy {safe(row.policy_name)} · {row.outcome.value}"
        )
    last = kb.ledger.list_disclosures()[-1]
    console.print(Panel(safe(last.text or ""), title="exactly this left, sealed", title_align="left"))
    if answers[-1].receipt is not None:
        console.print("signed receipt of that exchange, verified on the device:")
        console.print_json(answers[-1].receipt.encode().decode())


def _show_operator(operator: OperatorView, answers: Sequence[Answer]) -> None:
    _title(6, "What the cloud operator saw")
    traffic = bytes(operator.inbound) + bytes(operator.outbound)
    console.print(
        f"{len(operator.inbound):,} bytes in, {len(operator.outbound):,} bytes out. The last request, from its start:"
    )
    start = bytes(operator.inbound).rfind(b"POST ")
    console.print(safe(_hexdump(bytes(operator.inbound[start : start + _HEX_BYTES]))))
    plain = "".join(answer.question + answer.text for answer in answers).encode()
    words = sorted({word for answer in answers for word in answer.question.split() if _telling(word)})
    console.print(
        f"Of {len(words)} telling words of the questions, these bytes hold {_count(words, traffic)}; "
        f"the same search over the unsealed text finds {_count(words, plain)}."
    )
    console.print(
        "What it does show: when, and how many frames of 512 bytes an answer has. Requests to one model have one size."
    )


def _telling(word: str) -> bool:
    return len(word) >= _LONG_WORD or not word.isascii()


def _count(words: Sequence[str], data: bytes) -> int:
    return sum(word.encode() in data for word in words)


def _hexdump(data: bytes) -> str:
    lines = []
    for offset in range(0, len(data), _HEX_WIDTH):
        row = data[offset : offset + _HEX_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in row)  # noqa: PLR2004 - printable ASCII
        lines.append(f"{offset:04x}  {row.hex(' ', 4):<53}  {text}")
    return "\n".join(lines)


def _keep(stage: Stage) -> None:
    _title(7, "Go on by hand")
    settings = {
        "PATH": f"{Path(sys.executable).parent}:$PATH",
        "MITAI_KB": shlex.quote(str(stage.folder / _KNOWLEDGE_BASE)),
        "MITAI_PASSPHRASE_FILE": shlex.quote(str(stage.folder / "passphrase")),
        "MITAI_ENCLAVE": stage.url,
        "MITAI_POLICY": shlex.quote(str(stage.folder / "policy.toml")),
        "MITAI_TOKEN_FILE": shlex.quote(str(stage.folder / "token")),
    }
    script = stage.folder / "env.sh"
    write_private(script, "".join(f"export {name}={value}\n" for name, value in settings.items()))
    console.print("In a second terminal:\n")
    for command in (
        f"source {script}",
        'mitai search "annual leave"',
        'mitai ask "How long is the warranty period for the TK-40 spectrometer?" -k 2 --show-context',
        "mitai verify $MITAI_ENCLAVE",
        "mitai ledger",
        "mitai kb info $MITAI_KB",
    ):
        console.print(f"  {safe(command)}")
    console.print("\nCtrl-C here ends it and removes everything.")
    try:
        stage.wait_end()
    except KeyboardInterrupt:
        console.print("\nstopping …")
