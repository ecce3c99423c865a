"""From a question to a checked answer, over a real knowledge base and a simulated enclave on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai.answering.answer import NOTHING_FOUND, Grounding, ask
from mitai.answering.cite import Support
from mitai.disclosure import DisclosureOutcome
from mitai.enclave import EnclaveClient
from mitai.errors import (
    ContextTooLong,
    EnclaveRefused,
    EnclaveUnreachable,
    IncompleteAnswer,
    PlaintextRefused,
    VerificationFailed,
)
from mitai.knowledge_base import KnowledgeBase
from support.embedder import HashingEmbedder
from support.enclave_simulator import EnclaveSimulator, Raw, models, refusal, rotated, streamed
from support.knowledge_bases import CHEAP, PASSPHRASE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.bhttp import Request
    from support.enclave_simulator import Reply

HANDBOOK = """# Leave

Every full-time employee is entitled to 25 days of paid annual leave per calendar year.

# 差旅

员工出差的住宿费标准为每晚四百元，超过部分由员工自行承担。
"""
QUESTION = "How many days of paid annual leave does an employee have?"
RIGHT = "Full-time employees are entitled to 25 days of paid annual leave."
WRONG = "Full-time employees are entitled to 30 days of paid annual leave."


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A knowledge base with one handbook, made once."""
    folder = tmp_path_factory.mktemp("answer")
    (folder / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    path = folder / "kb"
    with KnowledgeBase.create(path, passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()) as kb:
        assert kb.ingest([folder / "handbook.md"]).added == 1
    return path


@pytest.fixture
def kb(closed: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(closed, passphrase=PASSPHRASE, embedder=HashingEmbedder()) as opened:
        yield opened


@pytest.fixture
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        running.answer = says(RIGHT)
        yield running


@pytest.fixture
def enclave(simulator: EnclaveSimulator) -> Iterator[EnclaveClient]:
    with EnclaveClient(simulator.url, policy=simulator.policy(), token="t0ken", timeout=5) as client:
        yield client


def says(text: str, *, context_tokens: int = 2048) -> Callable[[Request], Reply]:
    words = [text[start : start + 7] for start in range(0, len(text), 7)]
    return lambda request: models(context_tokens) if request.path == b"/v1/models" else streamed(*words)


def chats(simulator: EnclaveSimulator) -> list[Request]:
    return [request for request in simulator.executed if request.path == b"/v1/chat/completions"]


def last_row(kb: KnowledgeBase) -> DisclosureRecord:
    return kb.ledger.list_disclosures()[-1]


def test_an_answer_is_streamed_checked_and_written_down(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    stream = ask(kb, QUESTION, enclave)
    assert chats(simulator) == []  # nothing left before the first piece is taken
    pieces = list(stream)
    assert len(pieces) > 3
    answer = stream.answer
    assert answer.text == "".join(pieces) == RIGHT
    assert answer.grounding is Grounding.SUPPORTED
    assert answer.note is None
    (citation,) = answer.citations
    assert citation.file == "handbook.md"
    assert citation.heading_path == ("Leave",)
    assert citation.quote.startswith("Every full-time employee is entitled to 25 days")
    assert answer.finish == "stop"
    assert answer.simulated
    row = last_row(kb)
    assert row.disclosure_id == answer.disclosure_id
    assert row.outcome is DisclosureOutcome.COMPLETE
    assert row.passage_ids == tuple(passage.passage_id for passage in answer.context)
    assert row.measurement == answer.measurement
    assert row.receipt is not None
    assert answer.receipt is not None
    assert json.loads(row.receipt)["receipt"] == json.loads(answer.receipt.encode())
    assert row.request_digest == answer.receipt.request.hex()


def test_what_was_sent_is_what_the_ledger_says_was_sent(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    stream = ask(kb, QUESTION, enclave)
    list(stream)
    sent = chats(simulator)[0].content.decode()
    assert last_row(kb).text == sent
    assert json.loads(sent)["messages"] == list(stream.messages)
    assert QUESTION in stream.messages[-1]["content"]


def test_a_chinese_question_is_answered_and_cited(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    simulator.answer = says("员工出差的住宿费标准为每晚400元。")
    answer = ask(kb, "出差住宿费标准是多少？", enclave).answer
    assert answer.citations[0].heading_path == ("差旅",)
    assert answer.citations[0].quote == "员工出差的住宿费标准为每晚四百元，超过部分由员工自行承担。"


def test_a_sentence_with_another_number_is_marked(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    simulator.answer = says(WRONG)
    answer = ask(kb, QUESTION, enclave).answer
    assert [sentence.text for sentence in answer.unsupported] == [WRONG]
    assert answer.citations == ()
    assert answer.grounding is Grounding.WEAK
    assert answer.note is not None


def test_one_place_is_cited_once(kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.answer = says(f"{RIGHT} So every employee is entitled to 25 days of paid leave. 停车免费且没有限制。")
    answer = ask(kb, QUESTION, enclave).answer
    assert [sentence.support for sentence in answer.sentences] == [
        Support.SUPPORTED,
        Support.SUPPORTED,
        Support.UNSUPPORTED,
    ]
    assert len(answer.citations) == 1
    assert answer.grounding is Grounding.SUPPORTED


@pytest.mark.parametrize(("question", "words"), [(QUESTION, "en"), ("年假有几天？", "zh")])
def test_an_empty_knowledge_base_sends_nothing_and_says_so(
    tmp_path: Path, enclave: EnclaveClient, simulator: EnclaveSimulator, question: str, words: str
) -> None:
    with KnowledgeBase.create(
        tmp_path / "kb", passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()
    ) as empty:
        stream = ask(empty, question, enclave)
        assert list(stream) == [NOTHING_FOUND[words]]
        assert stream.answer.grounding is Grounding.NONE
        assert stream.answer.receipt is None
        assert stream.disclosure_id is None
        assert empty.ledger.list_disclosures() == []
    assert simulator.seen == []


# -- the row is there before the first byte


def test_the_row_is_committed_before_the_first_byte(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    before = len(kb.ledger.list_disclosures())
    seen: list[DisclosureOutcome] = []
    answer = simulator.answer

    def look(request: Request) -> Reply:
        if request.path != b"/v1/models":
            rows = kb.ledger.list_disclosures()
            assert len(rows) == before + 1
            seen.append(rows[-1].outcome)
        return answer(request)

    simulator.answer = look
    list(ask(kb, QUESTION, enclave))
    assert seen == [DisclosureOutcome.UNKNOWN]


KILLED = """
import os, sys
from pathlib import Path
from support.embedder import HashingEmbedder
from mitai.answering.answer import ask
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from mitai_crypto.policy import parse_policy
path, url, policy, passphrase, question = sys.argv[1:]
kb = KnowledgeBase.open(Path(path), passphrase=passphrase, embedder=HashingEmbedder())
enclave = EnclaveClient(url, policy=parse_policy(policy.encode()), token="t0ken")
stream = ask(kb, question, enclave)
next(stream)
print("streaming", flush=True)
for text in stream:
    pass
"""


def test_a_killed_process_leaves_its_row(kb: KnowledgeBase, closed: Path, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.pause = 0.2
    arguments = [str(closed), simulator.url, simulator.policy().encode(), PASSPHRASE, QUESTION]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"streaming\n"
        os.kill(child.pid, signal.SIGKILL)
    row = last_row(kb)
    assert row.outcome is DisclosureOutcome.UNKNOWN
    assert row.receipt is None
    assert row.text is not None
    assert QUESTION in row.text


# -- how a row ends


def test_a_cut_answer_is_incomplete(kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    stream = ask(kb, QUESTION, enclave)
    simulator.misbehaviour.frames = lambda frames: frames[:-1]
    with pytest.raises(IncompleteAnswer):
        list(stream)
    assert last_row(kb).outcome is DisclosureOutcome.INCOMPLETE
    with pytest.raises(IncompleteAnswer):
        _ = stream.answer


def test_closing_early_is_written_down(kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.pause = 0.01
    with ask(kb, QUESTION, enclave) as stream:
        next(stream)
    assert last_row(kb).outcome is DisclosureOutcome.CLOSED
    with pytest.raises(IncompleteAnswer):
        _ = stream.answer


def test_a_sealed_refusal_is_written_down(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    stream = ask(kb, QUESTION, enclave)
    simulator.answer = lambda _: refusal(503, "overloaded")
    with pytest.raises(EnclaveRefused):
        list(stream)
    assert last_row(kb).outcome is DisclosureOutcome.REFUSED


def test_an_unsealed_answer_is_written_down(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    stream = ask(kb, QUESTION, enclave)
    simulator.misbehaviour.outer = lambda _: Raw(200, b"{}")
    with pytest.raises(PlaintextRefused):
        list(stream)
    assert last_row(kb).outcome is DisclosureOutcome.REFUSED


def test_an_enclave_that_falls_silent_leaves_the_outcome_unknown(
    kb: KnowledgeBase, simulator: EnclaveSimulator
) -> None:
    speak = threading.Event()
    with EnclaveClient(simulator.url, policy=simulator.policy(), token="t", timeout=1) as enclave:
        stream = ask(kb, QUESTION, enclave)
        simulator.misbehaviour.outer = lambda _: Raw(503) if speak.wait(20) else None
        with pytest.raises(EnclaveUnreachable):
            list(stream)
    speak.set()
    assert last_row(kb).outcome is DisclosureOutcome.UNKNOWN


def test_a_resend_has_a_row_of_its_own(kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator) -> None:
    stream = ask(kb, QUESTION, enclave)
    simulator.misbehaviour.date = b"Tue, 01 Jan 2030 00:00:00 GMT"
    list(stream)
    first, second = kb.ledger.list_disclosures()[-2:]
    assert (first.outcome, first.attempt) == (DisclosureOutcome.RESENT, 1)
    assert (second.outcome, second.attempt) == (DisclosureOutcome.COMPLETE, 2)
    assert first.receipt is None


def test_threat_30_the_ledger_shows_whose_keys_each_answer_was_under(
    kb: KnowledgeBase, simulator: EnclaveSimulator
) -> None:
    """Who is shown keys of his own can tell: his ledger names other material than everybody else's."""
    shown = []
    for change in (False, False, True):
        if change:
            simulator.enclave = rotated(simulator.enclave)
        with EnclaveClient(simulator.url, policy=simulator.policy(), token="t") as enclave:
            list(ask(kb, QUESTION, enclave))
            receipt = json.loads(last_row(kb).receipt or "")["receipt"]
        shown.append(receipt["crypto_material"])
        assert receipt["crypto_material"] == hashlib.sha256(simulator.enclave.material.encode()).hexdigest()
    assert shown[0] == shown[1] != shown[2]


def test_an_enclave_that_does_not_verify_gets_no_row_and_no_byte(
    kb: KnowledgeBase, simulator: EnclaveSimulator
) -> None:
    rows = len(kb.ledger.list_disclosures())
    policy = simulator.policy(model_digest="0" * 64)
    with EnclaveClient(simulator.url, policy=policy, token="t") as enclave, pytest.raises(VerificationFailed):
        list(ask(kb, QUESTION, enclave))
    assert len(kb.ledger.list_disclosures()) == rows
    assert simulator.executed == []


def test_a_ledger_that_cannot_be_written_keeps_everything_here(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    stream = ask(kb, QUESTION, enclave)
    kb.close()
    with pytest.raises(Exception, match=r".*"):
        list(stream)
    assert chats(simulator) == []


# -- lengths


def test_a_question_longer_than_the_context(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    simulator.answer = says(RIGHT, context_tokens=1024)
    with pytest.raises(ContextTooLong):
        ask(kb, "为什么" * 1000, enclave)
    assert chats(simulator) == []


def test_an_engine_without_a_context_length_gets_the_assumed_one(
    kb: KnowledgeBase, enclave: EnclaveClient, simulator: EnclaveSimulator
) -> None:
    answer = simulator.answer
    simulator.answer = lambda request: models(None) if request.path == b"/v1/models" else answer(request)
    assert ask(kb, QUESTION, enclave, max_tokens=100).answer.text == RIGHT
    assert json.loads(chats(simulator)[0].content)["max_tokens"] == 100


def test_repr_shows_no_text(kb: KnowledgeBase, enclave: EnclaveClient) -> None:
    stream = ask(kb, QUESTION, enclave)
    answer = stream.answer
    for shown in (repr(stream), repr(answer)):
        assert "annual" not in shown
