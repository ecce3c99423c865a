from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tokenizers import Tokenizer

from mitai.models.errors import ModelDataError
from mitai.models.smollm2 import restore_rotary_rows, unpack_smollm2
from support.model_files import GGUF_HEADS, GGUF_HIDDEN, GGUF_TEMPLATE, gguf_fields, gguf_file, gguf_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def llama_cpp_order(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder as llama.cpp's converter does: neighbouring rows are the two halves of a head."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def test_the_directory_holds_what_an_engine_needs(tmp_path: Path) -> None:
    unpack_smollm2(gguf_file(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((tmp_path / "config.json").read_bytes())
    assert "quantization_config" not in config
    assert config["torch_dtype"] == "bfloat16"
    assert (config["rms_norm_eps"], config["rope_theta"]) == (1e-5, 100000.0)
    assert config["head_dim"] == GGUF_HIDDEN // GGUF_HEADS
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (1, 2, 2)
    assert (tmp_path / "chat_template.jinja").read_text() == GGUF_TEMPLATE


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        unpack_smollm2(gguf_file(), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_tokeniser_splits_numbers_into_digits_and_knows_its_special_tokens(tmp_path: Path) -> None:
    unpack_smollm2(gguf_file(), tmp_path)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert tokenizer.encode("hi hi1984").tokens == ["hi", "Ġhi", "1", "9", "8", "4"]
    assert tokenizer.encode("<|im_start|>hi<|im_end|>").ids[::2] == [1, 2]
    assert tokenizer.decode(tokenizer.encode("hi hi 7").ids) == "hi hi 7"
    config = json.loads((tmp_path / "tokenizer_config.json").read_bytes())
    assert [config[f"{role}_token"] for role in ("bos", "eos", "pad", "unk")] == [
        "<|im_start|>",
        "<|im_end|>",
        "<|im_end|>",
        "<|endoftext|>",
    ]


def test_rotary_rows_come_back_into_the_order_of_transformers() -> None:
    weight = np.arange(24, dtype=np.float32).reshape(8, 3)
    assert np.array_equal(restore_rotary_rows(llama_cpp_order(weight, 2), 2), weight)
    assert restore_rotary_rows(weight, 2)[:, 0].tolist() == [0, 6, 3, 9, 12, 18, 15, 21]


def test_query_and_key_alone_are_reordered(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    weights = gguf_weights()
    stored = dict(weights)
    for name, heads in (("blk.0.attn_q.weight", 4), ("blk.0.attn_k.weight", 2)):
        stored[name] = llama_cpp_order(weights[name], heads)
    unpack_smollm2(gguf_file(weights=stored), tmp_path)
    loaded = safetensors.load_file(tmp_path / "model.safetensors")
    names = {
        "model.embed_tokens": "token_embd",
        "model.norm": "output_norm",
        "model.layers.0.input_layernorm": "blk.0.attn_norm",
        "model.layers.0.post_attention_layernorm": "blk.0.ffn_norm",
        "model.layers.0.self_attn.q_proj": "blk.0.attn_q",
        "model.layers.0.self_attn.k_proj": "blk.0.attn_k",
        "model.layers.0.self_attn.v_proj": "blk.0.attn_v",
        "model.layers.0.self_attn.o_proj": "blk.0.attn_output",
        "model.layers.0.mlp.gate_proj": "blk.0.ffn_gate",
        "model.layers.0.mlp.up_proj": "blk.0.ffn_up",
        "model.layers.0.mlp.down_proj": "blk.0.ffn_down",
    }
    assert loaded.keys() == {f"{name}.weight" for name in names}
    for name, source in names.items():
        expected = torch.from_numpy(weights[f"{source}.weight"]).to(torch.bfloat16)
        assert torch.equal(loaded[f"{name}.weight"], expected), name


@pytest.mark.parametrize(
    "change",
    [
        {"general.architecture": "qwen3"},
        {"tokenizer.ggml.pre": "llama-bpe"},
        {"llama.attention.head_count": 7},
        {"llama.context_length": "long"},
        {"tokenizer.ggml.token_type": [3, 3]},
        {"tokenizer.ggml.tokens": ["hi"] * len(gguf_fields()["tokenizer.ggml.tokens"])},  # type: ignore[arg-type] # a list
        {"tokenizer.ggml.eos_token_id": 999},
    ],
)
def test_another_kind_of_model_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ModelDataError):
        unpack_smollm2(gguf_file({**gguf_fields(), **change}), tmp_path)


def test_a_tensor_that_is_not_of_a_llama_is_refused(tmp_path: Path) -> None:
    weights = {**gguf_weights(), "blk.0.surprise.weight": gguf_weights()["output_norm.weight"]}
    with pytest.raises(ModelDataError, match="surprise"):
        unpack_smollm2(gguf_file(weights=weights), tmp_path)
