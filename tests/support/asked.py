"""A knowledge base whose ledger rests on real exchanges with a simulated enclave, made once for several tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitai.answering.answer import ask
from mitai.enclave import EnclaveClient
from mitai.knowledge_base import KnowledgeBase
from support.embedder import HashingEmbedder
from support.enclave_simulator import EnclaveSimulator, models, rotated, streamed
from support.knowledge_bases import CHEAP, PASSPHRASE

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.storage.ledger import DisclosureRecord
    from mitai_crypto.policy import TrustPolicy
    from mitai_crypto.saved_evidence import SavedEvidence

HANDBOOK = """# Leave

Every full-time employee is entitled to 25 days of paid annual leave per calendar year.

# 差旅

员工出差的住宿费标准为每晚四百元，超过部分由员工自行承担。

# 保固

產品的保固期限為三十個月，自出貨日起算。
"""
QUESTIONS = (
    "How many days of paid annual leave is an employee entitled to?",
    "出差的住宿费标准是多少？",
    "保固期限多長？",
)


@dataclass(frozen=True)
class Asked:
    """What the questions left behind.

    Attributes:
        path: The knowledge base: three whole answers in three scripts, one that was closed early, one after the
            enclave's keys had changed.
        policy: What the enclave had to prove.
        rows: The ledger.
        evidence: What its rows rest on.
        blinds: What every inner request carried.
    """

    path: Path
    policy: TrustPolicy
    rows: list[DisclosureRecord]
    evidence: dict[str, SavedEvidence]
    blinds: list[bytes]


def ask_questions(folder: Path) -> Asked:
    """Ingest a handbook and ask about it."""
    (folder / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    path = folder / "手冊"
    with (
        EnclaveSimulator() as simulator,
        KnowledgeBase.create(path, passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()) as kb,
    ):
        kb.ingest([folder / "handbook.md"])
        simulator.answer = lambda request: (
            models() if request.path == b"/v1/models" else streamed("It says ", "四百元", "，三十個月。")
        )
        policy = simulator.policy()
        with EnclaveClient(simulator.url, policy=policy, token="t0ken", timeout=5) as enclave:
            for question in QUESTIONS:
                assert ask(kb, question, enclave).answer.receipt
            with ask(kb, QUESTIONS[0], enclave) as stream:
                next(stream)
        simulator.enclave = rotated(simulator.enclave)
        with EnclaveClient(simulator.url, policy=policy, token="t0ken", timeout=5) as enclave:
            assert ask(kb, QUESTIONS[1], enclave).answer.receipt
        blinds = [dict(request.headers)[b"mitai-blind"] for request in simulator.executed]
        return Asked(path, policy, kb.ledger.list_disclosures(), kb.ledger.list_evidence(), blinds)
