"""The example documents and the questions to them hold together."""

from __future__ import annotations

import importlib.util
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai_ingest import Loaded, read

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS = tomllib.loads((EXAMPLES / "questions.toml").read_text(encoding="utf-8"))["question"]


def texts(folder: Path) -> dict[str, str]:
    outcomes = list(read([folder], len))
    assert all(isinstance(outcome, Loaded) for outcome in outcomes), outcomes
    return {o.document.path.name: o.document.text for o in outcomes if isinstance(o, Loaded)}


@pytest.fixture(scope="module")
def documents() -> dict[str, str]:
    return texts(EXAMPLES / "documents")


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_documents", EXAMPLES / "build_documents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_enough_of_every_kind(documents: dict[str, str]) -> None:
    assert len(documents) >= 12
    assert {Path(name).suffix for name in documents} == {".md", ".txt", ".html", ".pdf", ".docx"}
    languages = Counter(question["language"] for question in QUESTIONS)
    assert set(languages) == {"en", "zh-Hans", "zh-Hant"}
    assert min(languages.values()) >= 6


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["question"][:30])
def test_the_expected_file_holds_the_fact(documents: dict[str, str], question: dict[str, str]) -> None:
    assert question["facts"]
    for fact in question["facts"]:
        assert fact in documents[question["file"]]


def test_the_committed_files_are_what_the_script_builds(
    documents: dict[str, str], build: ModuleType, tmp_path: Path
) -> None:
    build.main(tmp_path)
    built = texts(tmp_path)
    assert built == {name: documents[name] for name in built}
    assert {name for name in documents if name.endswith((".pdf", ".docx"))} == set(built)


def test_building_twice_gives_the_same_bytes(build: ModuleType, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        build.main(tmp_path / folder)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
