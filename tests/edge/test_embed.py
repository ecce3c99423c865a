from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitai.embed import Embedder, SentenceTransformerEmbedder, default_embedder, length_sorted_batches
from mitai.errors import ModelError, ModelMissing
from support.embedder import HashingEmbedder

if TYPE_CHECKING:
    from pathlib import Path

FILES = ("model.safetensors", "tokenizer.json", "modules.json")


@given(st.lists(st.integers(0, 600)), st.integers(1, 5000))
def test_batches_hold_every_text_once_and_stay_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(length_sorted_batches(lengths, budget))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[index] for index in batch) <= budget for batch in batches)
    flat = [lengths[index] for batch in batches for index in batch]
    assert flat == sorted(lengths, reverse=True)


def _model_folder(folder: Path) -> Path:
    folder.mkdir()
    for name in FILES:
        (folder / name).write_bytes(b"{}")
    return folder


@pytest.mark.parametrize("missing", FILES)
def test_a_folder_without_a_model_is_refused_with_a_way_on(tmp_path: Path, missing: str) -> None:
    folder = _model_folder(tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(ModelMissing, match=missing) as caught:
        SentenceTransformerEmbedder(folder)
    assert "make models" in caught.value.hint


def test_the_model_id_covers_every_file(tmp_path: Path) -> None:
    folder = _model_folder(tmp_path / "model")
    first = SentenceTransformerEmbedder(folder).model_id
    assert first.startswith("model@sha256:")
    shutil.copytree(folder, tmp_path / "elsewhere" / "model")
    assert SentenceTransformerEmbedder(tmp_path / "elsewhere" / "model").model_id == first
    seen = {first}
    for name in (*FILES, "1_Pooling/config.json"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"{ }" + name.encode())
        seen.add(SentenceTransformerEmbedder(folder).model_id)
    assert len(seen) == 5


@pytest.mark.models
def test_a_model_that_does_not_load_is_our_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not load"):
        SentenceTransformerEmbedder(_model_folder(tmp_path / "model")).embed_queries(["x"])


def test_without_the_libraries_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="torch") as caught:
        SentenceTransformerEmbedder(_model_folder(tmp_path / "model")).embed_queries(["x"])
    assert "mitai[embed]" in caught.value.hint


def test_importing_loads_no_model_library() -> None:
    heavy = ["torch", "faiss", "transformers", "sentence_transformers", "keyring", "tokenizers", "opencc"]
    code = f"import sys, mitai.knowledge_base; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_test_double_keeps_the_promises_of_the_protocol() -> None:
    embedder: Embedder = HashingEmbedder()
    vectors = embedder.embed_passages(["年假十五天", "fifteen days of leave", ""])
    assert (vectors.shape, vectors.dtype) == ((3, embedder.dimension), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="module")
def e5() -> SentenceTransformerEmbedder:
    return default_embedder()


@pytest.mark.models
def test_vectors_have_unit_length_in_the_order_of_the_texts(e5: SentenceTransformerEmbedder) -> None:
    texts = ["short", "a much longer text about leases, rent and deposits " * 8, "租金", "中等长度的一段中文文字" * 4]
    vectors = e5.embed_passages(texts)
    assert (vectors.shape, vectors.dtype, e5.dimension) == ((4, 384), np.float32, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert float(e5.embed_passages([text])[0] @ vector) > 0.9999
    assert e5.embed_passages([]).shape == (0, 384)


@pytest.mark.models
def test_prefixes_tell_queries_from_passages(e5: SentenceTransformerEmbedder) -> None:
    query, passage = e5.embed_queries(["annual leave"])[0], e5.embed_passages(["annual leave"])[0]
    assert 0.8 < float(query @ passage) < 0.9999


@pytest.mark.models
def test_meaning_is_found_across_languages(e5: SentenceTransformerEmbedder) -> None:
    passages = e5.embed_passages(
        [
            "Employees get twenty-five days of paid holiday a year.",
            "采购超过五万元须经两名经理批准。",
            "Reset the router with a pin.",
        ]
    )
    # e5-small leans towards the language of the question, so the distractors are in it too.
    for query, best in (
        ("How many days of paid holiday?", 0),
        ("Who has to approve a large purchase?", 1),
        ("如何重置路由器", 2),
    ):
        assert int(np.argmax(passages @ e5.embed_queries([query])[0])) == best


@pytest.mark.models
def test_tokens_are_counted_as_the_model_counts(e5: SentenceTransformerEmbedder) -> None:
    assert e5.count_tokens("") == 0
    assert e5.max_tokens == 512 - 2 - e5.count_tokens("passage: ")
    text = "租约 lease " * 200
    assert e5.count_tokens(text) > e5.max_tokens
    assert e5.embed_passages([text]).shape == (1, 384)


@pytest.mark.models
def test_loading_prints_nothing_and_reaches_no_network(e5: SentenceTransformerEmbedder) -> None:
    code = """
import sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"{event} {args}")
sys.addaudithook(refuse)
from mitai.embed import default_embedder
print(default_embedder().embed_queries(["x"]).shape)
"""
    free = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=free)
    assert (result.returncode, result.stdout, result.stderr) == (0, "(1, 384)\n", "")
