from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from mitai.models.cli import app, main
from mitai.models.errors import UnknownModel

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.models.lock import LockedModel


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MITAI_MODELS_DIR", str(tmp_path))
    return tmp_path


def test_list_says_what_is_here(models: Path) -> None:
    (models / "multilingual-e5-small").mkdir()
    lines = CliRunner().invoke(app, ["list"]).stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["multilingual-e5-small", "embedding", "MIT"],
        ["SmolLM2-135M-Instruct", "chat", "Apache-2.0"],
    ]
    assert str(models / "multilingual-e5-small") in lines[0]
    assert lines[1].endswith("not fetched")
    rows = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert [row["present"] for row in rows] == [True, False]


def test_fetch_prints_paths_on_standard_output_alone(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def install(model: LockedModel, report: object) -> Path:
        asked.append(model.name)
        assert callable(report)
        report(f"{model.name}: unpacking")
        return models / model.name

    monkeypatch.setattr("mitai.models.install.install_model", install)
    done = CliRunner().invoke(app, ["fetch"])
    assert done.stdout.splitlines() == [str(models / name) for name in asked]
    assert done.stderr.splitlines() == [f"{name}: unpacking" for name in asked]
    assert asked == ["multilingual-e5-small", "SmolLM2-135M-Instruct"]
    CliRunner().invoke(app, ["fetch", "SmolLM2-135M-Instruct"])
    assert asked[2:] == ["SmolLM2-135M-Instruct"]


def test_an_unknown_name_is_an_error_of_ours() -> None:
    done = CliRunner().invoke(app, ["fetch", "gpt-9"])
    assert isinstance(done.exception, UnknownModel)


def test_an_error_is_a_message_a_hint_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mitai.models", "verify"])
    with pytest.raises(SystemExit) as caught:
        main()
    output = capsys.readouterr()
    assert (caught.value.code, output.out) == (1, "")
    assert output.err.splitlines() == [
        "error: the model multilingual-e5-small is not on this machine",
        "hint: Fetch it: python -m mitai.models fetch",
    ]


def test_the_module_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mitai.models", "list", "--json"], capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)) == 2
