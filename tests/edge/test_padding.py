from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai import EnclaveClient, KnowledgeBase, ask
from mitai.answering.prompt import estimate_tokens
from mitai.errors import PaddingError
from mitai.padding import PADDED, UNPADDED, Padding
from mitai_crypto.labels import BYTES_PER_TOKEN, GATEWAY_PATH
from support.embedder import HashingEmbedder
from support.enclave_simulator import EnclaveSimulator
from support.knowledge_bases import PASSPHRASE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("size", [0, -1, 3, 16_385, 8 * 1024 * 1024])
def test_a_request_size_is_a_power_of_two(size: int) -> None:
    with pytest.raises(PaddingError) as caught:
        Padding(size)
    assert caught.value.hint


@pytest.mark.parametrize("cadence", [0, 9, 1001, -50])
def test_a_cadence_has_bounds(cadence: int) -> None:
    with pytest.raises(PaddingError):
        Padding(cadence=cadence)


def test_a_cadence_needs_padding() -> None:
    with pytest.raises(PaddingError):
        Padding(cadence=50, padded=False)


def test_padding_can_be_turned_off_only_by_name() -> None:
    assert PADDED.pad(b"x") == b"x" + bytes(16_383)
    assert UNPADDED.pad(b"x") == b"x"


# Normalised text has no control characters but these two, and no space at its edges.
@given(st.text(st.characters(exclude_categories=["Cc"], include_characters="\n\t", codec="utf-8")).map(str.strip))
def test_threat_18_no_text_is_longer_than_its_estimated_tokens_allow(text: str) -> None:
    written = json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert len(written) - 2 <= BYTES_PER_TOKEN * estimate_tokens(text)


def test_threat_18_every_question_to_one_model_has_one_size(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(20):
        text = f"Rule {number}: the warranty period is {number} months. 保修期一年。保固期為一年。"
        (folder / f"{number}.md").write_text(text, encoding="utf-8")
    made = KnowledgeBase.create(tmp_path / "kb", passphrase=PASSPHRASE, embedder=HashingEmbedder())
    with made as base, EnclaveSimulator() as simulator:
        base.ingest([folder])
        with EnclaveClient(simulator.url, policy=simulator.policy(), token="t") as enclave:
            for question, k in (("warranty?", 1), ("保修期多久？", 5), ("How long is the warranty period?" * 9, 20)):
                list(ask(base, question, enclave, k=k))
        sizes = [len(outer.body) for outer in simulator.seen if outer.path.startswith(GATEWAY_PATH)]
        contents = {len(request.content) for request in simulator.executed if request.method == b"POST"}
    assert len(contents) == 3, "the questions differ in length"
    assert len(sizes) == 4
    assert len(set(sizes)) == 1, "the request for the list of models looks like a question too"
