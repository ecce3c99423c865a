"""Turn SmolLM2's GGUF file into the directory that vLLM and transformers load.

GGUF stores a Llama's tensors under llama.cpp's names, the matrices in 4-bit blocks, and the rows of the query and key
projections in the order that llama.cpp's rotary embedding wants. This module undoes all three.

It does not go through transformers, whose output differs from version to version. The tokeniser splits numbers into
single digits (`tokenizer.ggml.pre = smollm`), as the model was trained.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Final

from mitai.models.errors import ModelDataError
from mitai.models.gguf_file import GgufFile, GgufTensor, parse_gguf
from mitai.models.written import JsonValue, OutputTensor, Precision, write_json, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_CONTROL: Final = 3  # GGUF's token type of a special token
_TOP: Final = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_BLOCK: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BLOCK_NAME: Final = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_ROTARY: Final = {"attn_q": "llama.attention.head_count", "attn_k": "llama.attention.head_count_kv"}


def unpack_smollm2(data: bytes, target: Path) -> None:
    """Write the model in the GGUF file `data` into the empty directory `target`.

    The weights become bfloat16, the type that the model was trained in.

    Raises:
        ModelDataError: The bytes are not the kind of GGUF that this module knows.
    """
    model = parse_gguf(data)
    kind = (model.one("general.architecture", str), model.one("tokenizer.ggml.pre", str))
    if kind != ("llama", "smollm"):
        raise ModelDataError(f"the GGUF file holds {'/'.join(kind)}, not a SmolLM2 model")
    _write_config(model, target)
    _write_tokenizer(model, target)
    write_safetensors(
        target / "model.safetensors", [_output(model, tensor) for tensor in model.tensors], Precision.BF16
    )


def restore_rotary_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Put the rows of a query or key projection back into the order of transformers.

    llama.cpp rotates neighbouring pairs, transformers rotates halves: within each head, row 2i + j of the file is
    row i + j * (head size / 2) of the result. Shape in and out: (heads * head size, hidden size).
    """
    halves = weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2)
    return halves.reshape(weight.shape)


def _output(model: GgufFile, tensor: GgufTensor) -> OutputTensor:
    if tensor.name in _TOP:
        return OutputTensor(_TOP[tensor.name], tensor.shape, tensor.weights)
    match = _BLOCK_NAME.fullmatch(tensor.name)
    if match is None or match[2] not in _BLOCK:
        raise ModelDataError(f"the GGUF file holds an unexpected tensor {tensor.name!r}")
    name = f"model.layers.{match[1]}.{_BLOCK[match[2]]}.weight"
    if match[2] not in _ROTARY:
        return OutputTensor(name, tensor.shape, tensor.weights)
    heads = model.one(_ROTARY[match[2]], int)
    return OutputTensor(name, tensor.shape, partial(_rotary, tensor, heads))


def _rotary(tensor: GgufTensor, heads: int) -> NDArray[np.float32]:
    if heads < 1 or tensor.shape[0] % (2 * heads):
        raise ModelDataError(f"the GGUF tensor {tensor.name!r} does not consist of {heads} heads")
    return restore_rotary_rows(tensor.weights(), heads)


def _special_ids(model: GgufFile) -> dict[str, int]:
    return {
        "bos_token": model.one("tokenizer.ggml.bos_token_id", int),
        "eos_token": model.one("tokenizer.ggml.eos_token_id", int),
        "pad_token": model.one("tokenizer.ggml.padding_token_id", int),
    }


def _write_config(model: GgufFile, target: Path) -> None:
    hidden, heads = (model.one(f"llama.{key}", int) for key in ("embedding_length", "attention.head_count"))
    ids = {f"{role}_id": index for role, index in _special_ids(model).items()}
    write_json(
        target / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "torch_dtype": "bfloat16",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "head_dim": hidden // heads,
            "hidden_act": "silu",
            "hidden_size": hidden,
            "intermediate_size": model.one("llama.feed_forward_length", int),
            "max_position_embeddings": model.one("llama.context_length", int),
            "mlp_bias": False,
            "num_attention_heads": heads,
            "num_hidden_layers": model.one("llama.block_count", int),
            "num_key_value_heads": model.one("llama.attention.head_count_kv", int),
            "rms_norm_eps": _six_digits(model.one("llama.attention.layer_norm_rms_epsilon", float)),
            "rope_scaling": None,
            "rope_theta": _six_digits(model.one("llama.rope.freq_base", float)),
            "tie_word_embeddings": True,
            "use_cache": True,
            "vocab_size": model.one("llama.vocab_size", int),
            **ids,
        },
    )
    write_json(target / "generation_config.json", ids)


def _six_digits(value: float) -> float:
    # A float32 that was written as 1e-05 reads as 9.999999747378752e-06.
    return float(f"{value:.6g}")


def _write_tokenizer(model: GgufFile, target: Path) -> None:
    tokens = model.many("tokenizer.ggml.tokens", str)
    kinds = model.many("tokenizer.ggml.token_type", int)
    ids = {**_special_ids(model), "unk_token": model.one("tokenizer.ggml.unknown_token_id", int)}
    if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens) or max(ids.values()) >= len(tokens):
        raise ModelDataError("the vocabulary of the GGUF file names a token twice, or one that is not there")
    roles = {role: tokens[index] for role, index in ids.items()}
    special = [index for index, kind in enumerate(kinds) if kind == _CONTROL]
    write_json(
        target / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added_token(index, tokens[index]) for index in special],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    {"type": "Digits", "individual_digits": True},
                    {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
                ],
            },
            "post_processor": None,
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": _byte_pair_encoding(tokens, model.many("tokenizer.ggml.merges", str)),
        },
    )
    write_json(
        target / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "add_prefix_space": False,
            "clean_up_tokenization_spaces": False,
            "model_max_length": model.one("llama.context_length", int),
            **roles,
        },
    )
    (target / "chat_template.jinja").write_bytes(model.one("tokenizer.chat_template", str).encode())


def _added_token(index: int, content: str) -> JsonValue:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": True, **flags}


def _byte_pair_encoding(tokens: list[str], merges: list[str]) -> JsonValue:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": [merge.split(" ", 1) for merge in merges],
    }
