"""Fixtures of the LangChain tests: the real sidecar on a thread, and a knowledge base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mitai.knowledge_base import KnowledgeBase
from support.embedder import HashingEmbedder
from support.knowledge_bases import CHEAP, PASSPHRASE
from support.schema_engine import reply
from support.sealed_enclave import sealed_enclave
from support.upstream_simulator import Behaviour

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sealed_enclave import SealedEnclave

HANDBOOK = """# Leave

Every full-time employee is entitled to 25 days of paid annual leave per calendar year.

# 差旅

员工出差的住宿费标准为每晚四百元，超过部分由员工自行承担。

# 保固

本產品的保固期限為三十個月，自交付之日起計算。
"""


@pytest.fixture(scope="module")
def serving() -> Iterator[SealedEnclave]:
    with sealed_enclave() as running:
        yield running


@pytest.fixture
def enclave(serving: SealedEnclave) -> SealedEnclave:
    serving.engine.behaviour = Behaviour(reply=reply)
    serving.engine.requests.clear()
    return serving


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    path = tmp_path / "kb"
    with KnowledgeBase.create(path, passphrase=PASSPHRASE, argon2=CHEAP, embedder=HashingEmbedder()) as made:
        yield made


@pytest.fixture
def handbook(kb: KnowledgeBase, tmp_path: Path) -> KnowledgeBase:
    (tmp_path / "handbook.md").write_text(HANDBOOK, encoding="utf-8")
    assert kb.ingest([tmp_path / "handbook.md"]).added == 1
    return kb
