from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mitai.models.errors import ModelDataError
from mitai.models.gguf_file import parse_gguf
from support.model_files import gguf_fields, gguf_file, gguf_text, gguf_weights, random_weights

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"GGUF" + struct.pack("<I", 3)
TOO_MANY = (1 << 20) + 1


def entry(*, name: str = "t", shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    axes = struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
    return gguf_text(name) + axes + struct.pack("<IQ", kind, offset)


def with_entries(*entries: bytes, body: bytes = bytes(64)) -> bytes:
    head = HEAD + struct.pack("<QQ", len(entries), 0) + b"".join(entries)
    return head + bytes(-len(head) % 32) + body


def test_fields_and_tensors_come_back() -> None:
    model = parse_gguf(gguf_file())
    expected = gguf_fields()
    floats = {key for key, value in expected.items() if isinstance(value, float)}
    assert {k: v for k, v in model.fields.items() if k not in floats} == {
        k: v for k, v in expected.items() if k not in floats
    }
    assert all(model.fields[key] == np.float32(expected[key]) for key in floats)
    weights = gguf_weights()
    assert [tensor.name for tensor in model.tensors] == list(weights)
    assert all(np.array_equal(tensor.weights(), weights[tensor.name]) for tensor in model.tensors)


def test_an_independent_writer_is_understood(tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    path, weights = tmp_path / "x.gguf", random_weights(4, 64)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint64("a.number", 1 << 40)
    writer.add_array("a.list", ["密", "态"])
    for kind in ("Q4_1", "Q8_0"):
        stored = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(kind, gguf.quantize(weights, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    model = parse_gguf(path.read_bytes())
    assert (model.one("a.number", int), model.many("a.list", str)) == (1 << 40, ["密", "态"])
    for tensor in model.tensors:
        stored = gguf.GGMLQuantizationType[tensor.name]
        assert np.array_equal(tensor.weights(), gguf.dequantize(gguf.quantize(weights, stored), stored))


def test_a_field_is_asked_for_with_its_exact_type() -> None:
    model = parse_gguf(gguf_file())
    assert model.one("tokenizer.ggml.add_bos_token", bool) is False
    for key, kind in (("absent", str), ("llama.block_count", str), ("tokenizer.ggml.add_bos_token", int)):
        with pytest.raises(ModelDataError):
            model.one(key, kind)
    for key, other in (("absent", str), ("llama.block_count", int), ("tokenizer.ggml.tokens", int)):
        with pytest.raises(ModelDataError):
            model.many(key, other)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"FUGG" + gguf_file()[4:],
        b"GGUF" + struct.pack("<I", 2) + gguf_file()[8:],
        HEAD + struct.pack("<QQ", TOO_MANY, 0),
        HEAD + struct.pack("<QQ", 0, TOO_MANY),
        HEAD + struct.pack("<QQ", 0, 1) + gguf_text("a") + struct.pack("<I", 13),
        HEAD + struct.pack("<QQ", 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 4, TOO_MANY),
        HEAD + struct.pack("<QQ", 0, 1) + gguf_text("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(16),
        HEAD + struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1 << 62),
        HEAD + struct.pack("<QQ", 0, 2) + (gguf_text("a") + struct.pack("<IB", 0, 1)) * 2,
        HEAD + struct.pack("<QQ", 0, 1) + gguf_text("general.alignment") + struct.pack("<II", 4, 64),
        with_entries(entry(kind=1)),
        with_entries(entry(offset=8)),
        with_entries(entry(offset=1 << 40)),
        with_entries(entry(shape=(1 << 60, 1 << 60))),
        with_entries(entry(shape=())),
        with_entries(entry(shape=(1, 1, 1, 1, 4))),
        with_entries(entry(shape=(4,), kind=3)),
        with_entries(entry(), entry()),
        gguf_file()[:-1],
    ],
)
def test_a_file_outside_our_rules_is_refused(data: bytes) -> None:
    with pytest.raises(ModelDataError):
        parse_gguf(data)


def test_every_cut_inside_the_head_is_refused() -> None:
    data = with_entries(entry())
    for end in range(len(data) - 48):
        with pytest.raises(ModelDataError):
            parse_gguf(data[:end])
