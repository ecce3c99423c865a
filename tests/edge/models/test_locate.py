from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from mitai.models import known_models, locate, locked_model, models_directory
from mitai.models.errors import ModelMissing, UnknownModel


def test_models_live_in_the_users_data_unless_a_variable_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MITAI_MODELS_DIR", raising=False)
    assert models_directory() == Path(platformdirs.user_data_dir("mitai")) / "models"
    monkeypatch.setenv("MITAI_MODELS_DIR", str(tmp_path))
    assert models_directory() == tmp_path
    monkeypatch.setenv("MITAI_MODELS_DIR", "")
    assert models_directory() == Path(platformdirs.user_data_dir("mitai")) / "models"


def test_a_model_on_this_machine_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MITAI_MODELS_DIR", str(tmp_path))
    (tmp_path / "multilingual-e5-small").mkdir()
    assert locate("multilingual-e5-small") == tmp_path / "multilingual-e5-small"


def test_a_missing_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MITAI_MODELS_DIR", str(tmp_path))
    (tmp_path / "multilingual-e5-small").touch()  # a file is no model
    with pytest.raises(ModelMissing) as caught:
        locate("multilingual-e5-small")
    assert "python -m mitai.models fetch" in caught.value.hint


@pytest.mark.parametrize("name", ["unknown", "", "../multilingual-e5-small", "Qwen/Qwen3-0.6B"])
def test_a_name_that_is_not_locked_is_refused(name: str) -> None:
    with pytest.raises(UnknownModel, match="SmolLM2-135M-Instruct"):
        locate(name)


def test_every_known_model_has_its_entry() -> None:
    assert [locked_model(model.name) for model in known_models()] == list(known_models())


def test_locating_loads_no_model_library_and_no_network() -> None:
    heavy = {"torch", "transformers", "numpy", "tokenizers", "requests", "httpx", "subprocess"}
    code = f"import sys, mitai.models; mitai.models.known_models(); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
