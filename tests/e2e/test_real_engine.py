"""The main job against the real vLLM: one start, then every promise that only the whole stack can keep."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import psutil
import pytest

from mitai import EnclaveClient, KnowledgeBase, ask, errors
from mitai.cli.demo.questions import Question, load_questions
from mitai.cli.demo.show import ENCLAVE_MODEL, MAX_TOKENS, PASSAGES
from mitai.cli.demo.stage import Stage, write_private
from mitai.models import locate
from mitai_crypto.report import Outcome
from support import canary
from support.packet_capture import PacketCapture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import openai

    from mitai.answering.answer import Answer
    from mitai_crypto.policy import TrustPolicy

pytestmark = [pytest.mark.engine, pytest.mark.models]

EXAMPLES = Path(__file__).parents[2] / "examples"
PASSPHRASE = "密態 end to end"
QUESTIONS = [question for question in load_questions(EXAMPLES / "questions.toml") if question.demo]
PLANTED = ("zyxwortkanarienvogel", "金絲雀暗語", "金丝雀暗语")


@dataclass
class World:
    stage: Stage
    policy: TrustPolicy
    kb: KnowledgeBase
    port: int

    def client(self, policy: TrustPolicy | None = None, token: str | None = None) -> EnclaveClient:
        return EnclaveClient(self.stage.url, policy=policy or self.policy, token=token or self.stage.token)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Stage(locate(ENCLAVE_MODEL)) as stage:
        policy = stage.reference_policy()
        stage.start()
        write_private(stage.folder / "policy.toml", policy.encode())
        write_private(stage.folder / "passphrase", PASSPHRASE)
        documents = stage.folder / "planted"
        documents.mkdir()
        (documents / "planted.md").write_text(
            f"# Passwords of the gate\n\nThe word of the east gate is {PLANTED[0]}.\n\n"
            f"# 東門口令\n\n東門的口令是{PLANTED[1]}。\n\n# 东门口令\n\n东门的口令是{PLANTED[2]}。\n",
            encoding="utf-8",
        )
        with KnowledgeBase.create(stage.folder / "kb", passphrase=PASSPHRASE) as kb:
            summary = kb.ingest([EXAMPLES / "documents", documents])
            assert summary.failed == ()
            (documents / "planted.md").unlink()
            stage.wait_ready()
            yield World(stage, policy, kb, int(stage.url.rsplit(":", 1)[1]))


@pytest.fixture(scope="module")
def answers(world: World) -> dict[str, Answer]:
    with world.client() as enclave:
        return {
            question.text: ask(world.kb, question.text, enclave, k=PASSAGES, max_tokens=MAX_TOKENS).answer
            for question in QUESTIONS
        }


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.language == "en"], ids=lambda q: q.file)
def test_english_answers_hold_the_fact_and_cite_the_right_file(answers: dict[str, Answer], question: Question) -> None:
    answer = answers[question.text]
    assert all(fact in answer.text for fact in question.facts), answer.text
    assert question.file in {citation.file for citation in answer.citations}
    assert any(fact in citation.quote for fact in question.facts for citation in answer.citations)


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.language != "en"], ids=lambda q: q.file)
def test_the_chinese_question_retrieves_and_cites_the_right_file(
    answers: dict[str, Answer], question: Question
) -> None:
    answer = answers[question.text]
    assert answer.context[0].document.name == question.file
    assert question.file in {citation.file for citation in answer.citations}, answer.text


def test_every_answer_has_a_verified_receipt_and_a_complete_ledger_row(
    world: World, answers: dict[str, Answer]
) -> None:
    rows = {row.disclosure_id: row for row in world.kb.ledger.list_disclosures()}
    for answer in answers.values():
        assert answer.receipt is not None
        assert answer.disclosure_id is not None
        row = rows[answer.disclosure_id]
        assert row.outcome.value == "complete"
        assert (row.measurement, row.simulated, row.tee) == (answer.measurement, True, "simulated")
        assert json.loads(row.receipt or "")["receipt"]["request"] == row.request_digest


def test_verification_passes_all_mandatory_steps_and_says_simulated(world: World) -> None:
    with world.client() as enclave:
        report = enclave.verify().report
    assert report.ok
    assert report.simulated
    assert [step.number for step in report.steps if step.outcome is Outcome.FAIL] == []


def test_a_changed_measurement_is_refused_and_nothing_is_sent(world: World) -> None:
    reference = world.policy.references[0]
    name = next(iter(reference.registers))
    other = replace(reference, registers={**reference.registers, name: "00" * 48})
    before = len(world.kb.ledger.list_disclosures())
    with (
        world.client(replace(world.policy, references=(other,))) as enclave,
        pytest.raises(errors.VerificationFailed) as caught,
    ):
        ask(world.kb, QUESTIONS[0].text, enclave)
    assert caught.value.report.failures[0].number == 7
    assert len(world.kb.ledger.list_disclosures()) == before


def test_a_wrong_token_is_a_sealed_refusal(world: World) -> None:
    with world.client(token="wrong") as enclave, pytest.raises(errors.EnclaveRefused) as caught:
        enclave.models()
    assert caught.value.status == 401


def test_a_context_longer_than_the_models_is_a_typed_error(world: World) -> None:
    with world.client() as enclave:
        with pytest.raises(errors.ContextTooLong):
            ask(world.kb, "word " * 20_000, enclave)
        with pytest.raises(errors.ContextTooLong):
            enclave.chat([{"role": "user", "content": "word " * 20_000}])
        assert "".join(enclave.chat([{"role": "user", "content": "Say hello."}], max_tokens=4))


def test_a_packet_capture_of_the_sidecars_port_shows_no_planted_word(world: World) -> None:
    if not PacketCapture.permitted():
        pytest.skip("no permission for a packet socket")
    with PacketCapture(world.port) as capture, world.client() as enclave:
        answer = ask(
            world.kb, f"What is the word of the east gate, {PLANTED[0]}? 東門的口令是什麼？", enclave, k=PASSAGES
        ).answer
    sent = (
        next(row for row in world.kb.ledger.list_disclosures() if row.disclosure_id == answer.disclosure_id).text or ""
    )
    wire = capture.data()
    assert wire.count(b"POST /mitai/ohttp/") == 2  # the context length, then the question
    assert len(wire) > len(sent)
    planted = [word for word in PLANTED if word in sent]
    assert len(planted) >= 2
    control = canary.find(planted, sent.encode() + answer.text.encode())
    assert {line.split("'")[1] for line in control} == set(planted)
    hidden = [*PLANTED, world.stage.token, "v1/chat/completions", "Bearer", "planted.md"]
    assert canary.find(hidden, wire) == []


def test_the_command_line_asks_from_a_second_terminal(world: World) -> None:
    question = next(q for q in QUESTIONS if q.language == "en")
    folder = world.stage.folder
    command = [
        *(sys.executable, "-m", "mitai.cli", "ask", question.text, "--kb", str(folder / "kb")),
        *("--passphrase-file", str(folder / "passphrase"), "--enclave", world.stage.url),
        *("--policy", str(folder / "policy.toml"), "--token-file", str(folder / "token")),
        *("-k", str(PASSAGES), "--max-tokens", str(MAX_TOKENS), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert all(fact in told["text"] for fact in question.facts)
    assert question.file in {citation["file"] for citation in told["citations"]}
    assert told["simulated"] is True
    assert "SIMULATED" in done.stderr


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_python_of_the_readme_runs(world: World, readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (EXAMPLES.parent / readme).read_text(encoding="utf-8")
    library, client = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    for shown, real in {
        "https://enclave.example": world.stage.url,
        "policy.toml": str(world.stage.folder / "policy.toml"),
        '"handbook"': repr(str(world.stage.folder / "kb")),
    }.items():
        library, client = library.replace(shown, real), client.replace(shown, real)
    names: dict[str, object] = {"passphrase": PASSPHRASE, "token": world.stage.token}
    exec(compile(library, readme, "exec"), names)  # noqa: S102 - the README's own code
    assert capsys.readouterr().out
    exec(compile(client, readme, "exec"), names)  # noqa: S102 - the same
    with cast("openai.OpenAI", names["client"]) as sealed:
        assert [model.id for model in sealed.models.list()] == ["smollm2-135m-instruct"]


def test_threat_44_the_process_tree_listens_on_loopback_only(world: World) -> None:
    listeners = [
        connection.laddr.ip
        for process in _tree(world)
        for connection in process.net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN or (connection.type == 2 and connection.laddr)
    ]
    assert listeners
    assert {ip for ip in listeners if not ip.startswith("127.") and ip != "::1"} == set()


def test_the_engines_socket_is_private(world: World) -> None:
    sockets = [path for path in world.stage.runtime.rglob("*") if stat.S_ISSOCK(path.stat().st_mode)]
    assert sockets
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_no_planted_word_is_written_anywhere(world: World, answers: dict[str, Answer]) -> None:
    assert answers
    looked_at = 0
    for root in (world.stage.folder, Path("/dev/shm")):  # noqa: S108 - looked at, not written to
        for path in root.rglob("*"):
            if path.is_file() and path.suffix != ".safetensors" and path.stat().st_size < 512 * 1024 * 1024:
                looked_at += 1
                assert canary.find(PLANTED, path.read_bytes()) == [], path
    assert looked_at > 5


def test_an_engine_that_dies_mid_answer_makes_it_incomplete_and_comes_back(world: World) -> None:
    with world.client() as enclave:
        stream = enclave.chat([{"role": "user", "content": "Count from one to two hundred."}], max_tokens=400)
        received = [next(stream), next(stream)]
        os.kill(_engine(world).pid, signal.SIGKILL)
        with pytest.raises(errors.IncompleteAnswer):
            list(stream)
        assert all(received)
        # No evidence for an engine that does not run; then the supervisor brings it back.
        assert _within(30, lambda: not _verifies(enclave))
        assert _within(240, lambda: _verifies(enclave))
        assert "".join(enclave.chat([{"role": "user", "content": "Say hello."}], max_tokens=4))


def _engine(world: World) -> psutil.Process:
    lines = {process: " ".join(process.cmdline()) for process in _tree(world)}
    return next(process for process, line in lines.items() if "api_server" in line and "guard" not in line)


def _within(seconds: float, condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False


def _verifies(enclave: EnclaveClient) -> bool:
    try:
        return enclave.verify().report.ok
    except (errors.EnclaveRefused, errors.EnclaveUnreachable):
        return False


def _tree(world: World) -> list[psutil.Process]:
    assert world.stage.process_id is not None
    launcher = psutil.Process(world.stage.process_id)
    return [launcher, *launcher.children(recursive=True)]
