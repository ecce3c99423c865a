"""Turn an E5S1 file into the directory that sentence-transformers loads.

The network is a BERT encoder with mean pooling and unit-length vectors; the tokeniser is XLM-RoBERTa's unigram model.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Final

from mitai.models.e5_file import E5File, E5Vocabulary, parse_e5
from mitai.models.written import JsonValue, OutputTensor, Precision, write_json, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_TOKENS: Final = 512  # of a sequence, special tokens included: what the model was trained with
_FULLWIDTH_TILDE: Final = "\uff5e"
_STAND_IN: Final = "\U0010fffd"  # the last private-use character, which NFKC leaves alone
_SQUARE: Final = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value"}


def unpack_e5(data: bytes, target: Path) -> None:
    """Write the model in the E5S1 file `data` into the empty directory `target`, weights as float32.

    Raises:
        ModelDataError: The bytes are not such a file, or a tensor is missing or has another size.
    """
    model = parse_e5(data)
    _write_config(model, target)
    _write_tokenizer(model.vocabulary, target)
    _write_modules(model, target)
    write_safetensors(
        target / "model.safetensors",
        [OutputTensor(name, shape, partial(model.weights, source, shape)) for name, source, shape in _tensors(model)],
        Precision.F32,
    )


def _tensors(model: E5File) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Yield the name in BERT, the name in the file and the shape of every tensor."""
    shape = model.shape
    hidden, wide = shape.hidden_size, shape.intermediate_size
    yield "embeddings.word_embeddings.weight", "emb.word", (shape.vocab_size, hidden)
    yield "embeddings.position_embeddings.weight", "emb.pos", (shape.max_position_embeddings, hidden)
    yield "embeddings.token_type_embeddings.weight", "emb.type", (shape.type_vocab_size, hidden)
    yield from _norm("embeddings.LayerNorm", "emb.ln", hidden)
    for index in range(shape.num_hidden_layers):
        layer, source = f"encoder.layer.{index}", f"l{index}"
        for short, long in _SQUARE.items():
            yield from _linear(f"{layer}.{long}", f"{source}.{short}", hidden, hidden)
        yield from _linear(f"{layer}.attention.output.dense", f"{source}.ao", hidden, hidden)
        yield from _norm(f"{layer}.attention.output.LayerNorm", f"{source}.aln", hidden)
        yield from _linear(f"{layer}.intermediate.dense", f"{source}.fi", wide, hidden)
        yield from _linear(f"{layer}.output.dense", f"{source}.fo", hidden, wide)
        yield from _norm(f"{layer}.output.LayerNorm", f"{source}.oln", hidden)


def _linear(name: str, source: str, outputs: int, inputs: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield f"{name}.weight", f"{source}.w", (outputs, inputs)
    yield f"{name}.bias", f"{source}.b", (outputs,)


def _norm(name: str, source: str, size: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    yield f"{name}.weight", f"{source}.w", (size,)
    yield f"{name}.bias", f"{source}.b", (size,)


def _write_config(model: E5File, target: Path) -> None:
    write_json(
        target / "config.json",
        {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "torch_dtype": "float32",
            # Below 4.57.2 transformers does not suspect the tokeniser of a Mistral bug; the repair would break it.
            "transformers_version": "4.30.2",
            "attention_probs_dropout_prob": 0.1,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.1,
            "pad_token_id": model.vocabulary.pad,
            "position_embedding_type": "absolute",
            **dataclasses.asdict(model.shape),
        },
    )


def _write_tokenizer(vocabulary: E5Vocabulary, target: Path) -> None:
    roles = {"bos": vocabulary.bos, "eos": vocabulary.eos, "pad": vocabulary.pad, "unk": vocabulary.unk}
    special = {role: vocabulary.pieces[index][0] for role, index in roles.items()}
    metaspace: JsonValue = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    write_json(
        target / "tokenizer.json",
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [_added_token(roles[role], special[role]) for role in sorted(roles, key=roles.__getitem__)],
            "normalizer": {"type": "Sequence", "normalizers": _normalizers()},
            "pre_tokenizer": metaspace,
            "post_processor": _template(special["bos"], vocabulary.bos, special["eos"], vocabulary.eos),
            "decoder": metaspace,
            "model": {
                "type": "Unigram",
                "unk_id": vocabulary.unk,
                "byte_fallback": False,
                "vocab": vocabulary.pieces,
            },
        },
    )
    write_json(
        target / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_TOKENS,
            "cls_token": special["bos"],
            "sep_token": special["eos"],
            **{f"{role}_token": text for role, text in special.items()},
        },
    )


def _normalizers() -> list[JsonValue]:
    # The file's own table is NFKC after SentencePiece's control-character rules, except that it keeps the fullwidth
    # tilde, which Chinese writes in ranges (３～５). It steps aside for NFKC and comes back.
    return [
        {"type": "Replace", "pattern": {"String": _FULLWIDTH_TILDE}, "content": _STAND_IN},
        {"type": "Nmt"},
        {"type": "NFKC"},
        {"type": "Replace", "pattern": {"String": _STAND_IN}, "content": _FULLWIDTH_TILDE},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]


def _added_token(index: int, content: str) -> JsonValue:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, "special": True, **flags}


def _template(bos: str, bos_id: int, eos: str, eos_id: int) -> JsonValue:
    begin, end = _part("SpecialToken", bos), _part("SpecialToken", eos)
    first, second = _part("Sequence", "A"), _part("Sequence", "B")
    return {
        "type": "TemplateProcessing",
        "single": [begin, first, end],
        "pair": [begin, first, end, end, second, end],
        "special_tokens": {
            token: {"id": token, "ids": [index], "tokens": [token]} for token, index in ((bos, bos_id), (eos, eos_id))
        },
    }


def _part(kind: str, name: str) -> JsonValue:
    return {kind: {"id": name, "type_id": 0}}


def _write_modules(model: E5File, target: Path) -> None:
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    write_json(
        target / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for index, (path, kind) in enumerate(modules)
        ],
    )
    (target / "1_Pooling").mkdir()
    write_json(
        target / "1_Pooling" / "config.json",
        {"word_embedding_dimension": model.shape.hidden_size, "pooling_mode_mean_tokens": True},
    )
    write_json(
        target / "sentence_bert_config.json",
        # The pooler of BERT is not in the file and not used; without this it would be made of random numbers.
        {"max_seq_length": MAX_TOKENS, "do_lower_case": False, "model_args": {"add_pooling_layer": False}},
    )
    write_json(
        target / "config_sentence_transformers.json",
        {"prompts": {"query": "query: ", "document": "passage: "}, "default_prompt_name": None},
    )
