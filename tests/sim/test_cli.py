from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from mitai_sim import cli, launch
from mitai_sim.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

RUNNER = CliRunner()


@pytest.mark.parametrize("verb", ["run", "measure"])
def test_help_has_an_example_and_the_exit_codes(verb: str) -> None:
    shown = " ".join(RUNNER.invoke(cli.app, [verb, "--help"]).stdout.split())
    assert f"mitai-sim {verb} --input tokens.toml -- mitai-enclave serve" in shown
    assert "70" in shown


def test_help_says_that_it_protects_nothing() -> None:
    shown = RUNNER.invoke(cli.app, ["--help"]).stdout
    assert "SIMULATED" in shown
    assert "no\n  protection" in shown or "no protection" in shown


def test_run_passes_everything_on_and_shows_the_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[object] = []

    def run(given: Sequence[str], inputs: Sequence[str], state: Path, environment: Mapping[str, str]) -> int:
        seen.extend([list(given), list(inputs), state, environment is os.environ])
        return 5

    monkeypatch.setattr(launch, "run", run)
    state = tmp_path / "state"
    result = RUNNER.invoke(
        cli.app,
        [
            "run",
            "--state",
            str(state),
            "--input",
            "a",
            "--input",
            "模型",
            "--",
            "mitai-enclave",
            "serve",
            "--port",
            "0",
        ],
    )
    assert result.exit_code == 5
    assert seen == [["mitai-enclave", "serve", "--port", "0"], ["a", "模型"], state, True]
    assert "SIMULATED" in result.stderr
    assert result.stdout == ""


def test_measure_prints_only_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "reference_values", lambda *_: {"tee": "simulated"})
    result = RUNNER.invoke(cli.app, ["measure", "--", "mitai-enclave"])
    assert json.loads(result.stdout) == {"tee": "simulated"}
    assert result.stderr == ""


@pytest.mark.parametrize("verb", ["run", "measure"])
def test_an_error_is_told_with_its_hint(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise StateError("the root is damaged", hint="Remove it.")

    monkeypatch.setattr(launch, "run", fail)
    monkeypatch.setattr(launch, "reference_values", fail)
    result = RUNNER.invoke(cli.app, [verb, "--", "mitai-enclave"])
    assert result.exit_code == os.EX_SOFTWARE
    assert "mitai-sim: the root is damaged\n  Remove it.\n" in result.stderr


def test_a_command_is_required() -> None:
    assert RUNNER.invoke(cli.app, ["run"]).exit_code == 2


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mitai_sim", "measure", "--", "sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == os.EX_SOFTWARE
    assert "'sh' cannot be launched" in done.stderr
    assert "Example:" in done.stderr
