from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mitai.models.written import OutputTensor, Precision, write_json, write_safetensors
from support.model_files import random_weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def tensor(name: str, weights: NDArray[np.float32]) -> OutputTensor:
    return OutputTensor(name, weights.shape, lambda: weights)


def read(path: Path) -> tuple[dict[str, dict[str, object]], bytes]:
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def test_equal_json_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": ["密态", None]})
    write_json(tmp_path / "b", {"a": ("密态", None), "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "密态" in (tmp_path / "a").read_text(encoding="utf-8")


def test_json_holds_no_number_that_json_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a", {"x": float("nan")})


def test_tensors_lie_in_the_order_of_their_names(tmp_path: Path) -> None:
    first, second = random_weights(2, 3), random_weights(4, seed=2)
    write_safetensors(tmp_path / "x", [tensor("b", second), tensor("a", first)], Precision.F32)
    header, body = read(tmp_path / "x")
    assert list(header) == ["__metadata__", "a", "b"]
    assert header["a"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert header["b"]["data_offsets"] == [24, 40]
    assert body == first.tobytes() + second.tobytes()
    assert (len((tmp_path / "x").read_bytes()) - len(body)) % 8 == 0


def test_bfloat16_rounds_to_nearest_ties_to_even(tmp_path: Path) -> None:
    bits = np.array([0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xBF818000, 0], "<u4")
    write_safetensors(tmp_path / "x", [tensor("a", bits.view("<f4"))], Precision.BF16)
    _, body = read(tmp_path / "x")
    assert np.frombuffer(body, "<u2").tolist() == [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0xBF82, 0]


def test_the_library_that_reads_it_gives_the_same_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    safetensors = pytest.importorskip("safetensors.torch")
    weights = random_weights(7, 5, seed=4)
    for precision, dtype in ((Precision.F32, torch.float32), (Precision.BF16, torch.bfloat16)):
        write_safetensors(tmp_path / "x", [tensor("a", weights)], precision)
        assert torch.equal(safetensors.load_file(tmp_path / "x")["a"], torch.from_numpy(weights).to(dtype))


def test_a_tensor_of_another_shape_than_announced_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shape"):
        write_safetensors(tmp_path / "x", [OutputTensor("a", (2,), lambda: random_weights(3))], Precision.F32)
