from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tokenizers import Tokenizer

from mitai.models.e5 import unpack_e5
from mitai.models.e5_file import parse_e5
from mitai.models.errors import ModelDataError
from support.model_files import E5_HIDDEN, E5_PIECES, e5_file, e5_tensors, random_weights

if TYPE_CHECKING:
    from pathlib import Path


def test_the_directory_is_one_of_sentence_transformers(tmp_path: Path) -> None:
    unpack_e5(e5_file(), tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()) == [
        "1_Pooling/config.json",
        "config.json",
        "config_sentence_transformers.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    modules = json.loads((tmp_path / "modules.json").read_bytes())
    assert [module["type"].rpartition(".")[2] for module in modules] == ["Transformer", "Pooling", "Normalize"]
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert (config["hidden_size"], config["pad_token_id"], config["layer_norm_eps"]) == (E5_HIDDEN, 1, 1e-12)


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        unpack_e5(e5_file(), tmp_path / name)
    for path in (path for path in (tmp_path / "a").rglob("*") if path.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("data密态", ["▁data", "密态"]),
        ("data  密", ["▁data", "▁", "密"]),
        ("ｄａｔａ１", ["▁data", "1"]),  # fullwidth letters and digits become plain ones
        ("data1～1", ["▁data", "1", "～", "1"]),  # the fullwidth tilde stays itself
        ("data1~1", ["▁data", "1", "~", "1"]),
        (" 可用資料", ["▁可用", "資料"]),
    ],
)
def test_the_tokeniser_normalises_as_the_vocabulary_was_made(text: str, tokens: list[str], tmp_path: Path) -> None:
    unpack_e5(e5_file(), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoded = tokenizer.encode(text)
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("<s>", "</s>")
    assert [t for t in encoded.tokens[1:-1] if t != "▁"] == [t for t in tokens if t != "▁"]
    assert tokenizer.token_to_id("<unk>") not in [tokenizer.token_to_id(t) for t in tokens if t in E5_PIECES]


def test_embeddings_are_unit_vectors_of_the_stored_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    unpack_e5(e5_file(), tmp_path)
    model = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu", local_files_only=True)
    vectors = model.encode(["data密态", "資料1"])
    assert vectors.shape == (2, E5_HIDDEN)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    parameters = dict(model[0].auto_model.named_parameters())
    assert not [name for name in parameters if "pooler" in name]
    stored = parse_e5(e5_file()).weights("emb.word", (len(E5_PIECES), E5_HIDDEN))
    assert torch.equal(parameters["embeddings.word_embeddings.weight"].cpu(), torch.from_numpy(stored))


@pytest.mark.parametrize("name", ["emb.word", "l0.ao.b", "l0.oln.w"])
def test_a_missing_or_short_tensor_is_refused(name: str, tmp_path: Path) -> None:
    for broken in ("missing", "short"):
        tensors = e5_tensors()
        del tensors[name]
        if broken == "short":
            tensors[name] = (0, 1, random_weights(1).tobytes())
        (tmp_path / broken).mkdir()
        with pytest.raises(ModelDataError, match="tensor"):
            unpack_e5(e5_file(tensors=tensors), tmp_path / broken)
