"""An endpoint in front of a simulated enclave, and a knowledge base in three scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.knowledge_base import KnowledgeBase
from support.embedder import HashingEmbedder
from support.enclave_simulator import EnclaveSimulator
from support.knowledge_bases import CHEAP, PASSPHRASE
from support.serving import Served, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCUMENTS = {
    "handbook.md": "# Leave\n\nEvery full-time employee has 27 days of paid annual leave. "
    "Part-time staff have 14 days.\n",
    "员工手册.txt": "正式员工每年享有二十七天带薪年假。住房补贴为每月一千元。\n",
    "保固說明.txt": "光譜儀的保固期限為三十個月。維修須於保固期內申請。\n",
}


@pytest.fixture
def simulator() -> Iterator[EnclaveSimulator]:
    with EnclaveSimulator() as running:
        yield running


@pytest.fixture
def knowledge_base(tmp_path: Path) -> Iterator[KnowledgeBase]:
    folder = tmp_path / "documents"
    folder.mkdir()
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    made = KnowledgeBase.create(tmp_path / "手冊", passphrase=PASSPHRASE, embedder=HashingEmbedder(), argon2=CHEAP)
    with made as base:
        assert base.ingest([folder]).added == len(DOCUMENTS)
        yield base


@pytest.fixture
def served(simulator: EnclaveSimulator, knowledge_base: KnowledgeBase) -> Iterator[Served]:
    """An endpoint with a knowledge base; plain requests are not recorded."""
    with serving(simulator.url, simulator.policy(), corpora={knowledge_base.name: knowledge_base}) as running:
        yield running


@pytest.fixture
def plain(simulator: EnclaveSimulator) -> Iterator[Served]:
    """An endpoint without a knowledge base."""
    with serving(simulator.url, simulator.policy()) as running:
        yield running
