from __future__ import annotations

import numpy as np
import pytest

from mitai.models.e5_file import parse_e5
from mitai.models.errors import ModelDataError
from support.model_files import E5_HIDDEN, E5_PIECES, E5_SCORES, e5_file, e5_tensors, quantise_q4_0, random_weights


def test_everything_in_the_file_comes_back() -> None:
    model = parse_e5(e5_file())
    assert (model.shape.hidden_size, model.shape.num_hidden_layers, model.shape.layer_norm_eps) == (32, 1, 1e-12)
    assert [piece for piece, _ in model.vocabulary.pieces] == list(E5_PIECES)
    assert [score for _, score in model.vocabulary.pieces] == list(E5_SCORES)
    assert (model.vocabulary.bos, model.vocabulary.eos, model.vocabulary.pad, model.vocabulary.unk) == (0, 2, 1, 3)
    assert model.normalisation == {ord("！"): "!", 1: ""}
    assert model.tensors.keys() == e5_tensors().keys()
    word = model.weights("emb.word", (len(E5_PIECES), E5_HIDDEN))
    assert np.allclose(word, random_weights(len(E5_PIECES), E5_HIDDEN), atol=0.3)


def test_a_tensor_is_asked_for_with_its_exact_size() -> None:
    model = parse_e5(e5_file())
    for name, shape in (("absent", (1,)), ("emb.word", (1, E5_HIDDEN)), ("emb.pos", (3, 5))):
        with pytest.raises(ModelDataError):
            model.weights(name, shape)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        e5_file(magic=b"E5S2"),
        e5_file(version=2),
        e5_file(block=64),
        e5_file(special=(0, 2, 1, len(E5_PIECES))),
        e5_file(special=(-1, 2, 1, 3)),
        e5_file(pieces=("<s>", "<pad>", "</s>", "<unk>", "a", "a")),
        e5_file(pieces=("<s>", "<pad>", "</s>", "<unk>", "")),
        e5_file(tensors={}),
        e5_file(tensors={"emb.word": (2, 32, bytes(18))}),
        e5_file(tensors={"emb.word": (1, 31, bytes(18))}),
        e5_file(tensors={"emb.word": (1, 64, quantise_q4_0(random_weights(32)))}),
        e5_file(size_error=1),
        e5_file()[:-1],
    ],
)
def test_a_file_outside_our_rules_is_refused(data: bytes) -> None:
    with pytest.raises(ModelDataError):
        parse_e5(data)


def test_every_cut_inside_the_head_is_refused() -> None:
    data = e5_file()
    for end in range(0, 900, 7):
        with pytest.raises(ModelDataError):
            parse_e5(data[:end])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (bytes([1]) + (0x21).to_bytes(4, "little"), bytes([1]) + (0x110000).to_bytes(4, "little")),  # no character
        ("密态".encode(), "密".encode() + b"\xff\xff\xff"),  # not UTF-8
        (np.float32(-2).tobytes(), np.float32(np.nan).tobytes()),  # no score
    ],
)
def test_damaged_content_is_refused(old: bytes, new: bytes) -> None:
    data = e5_file()
    assert old in data
    with pytest.raises(ModelDataError):
        parse_e5(data.replace(old, new, 1))
