"""The examples for LangChain and MCP run as they stand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from mcp import StdioServerParameters

from mitai.cli.app import app
from mitai.models import models_directory
from support.sealed_enclave import sealed_enclave

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning:__main__", str(EXAMPLES / name), *arguments],
        env={**os.environ, "MITAI_MODELS_DIR": str(models_directory()), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.models
def test_the_chain_answers_and_says_what_left(tmp_path: Path) -> None:
    with sealed_enclave() as enclave:
        enclave.engine.behaviour.words = ("There", " are", " 27 days.", " 二十七天。")
        (tmp_path / "policy.toml").write_text(enclave.policy.encode(), encoding="utf-8")
        (tmp_path / "token").write_text(enclave.token, encoding="utf-8")
        told = run(
            "langchain_rag.py",
            "How many days of annual leave?",
            MITAI_ENCLAVE=enclave.url,
            MITAI_POLICY=str(tmp_path / "policy.toml"),
            MITAI_TOKEN_FILE=str(tmp_path / "token"),
        )
        (call,) = enclave.engine.calls
    assert "There are 27 days. 二十七天。" in told
    assert "SIMULATED" in told
    assert "2 passages, complete" in told
    assert "annual leave" in str(call.document["messages"])


@pytest.mark.models
def test_the_vector_store_finds_each_note_in_its_script() -> None:
    told = run("vector_store.py")
    for name in ("lease/7 (", "报销/3 (", "保固/1 ("):
        assert name in told
    assert told.endswith("left: lease/7: The office lease was prolonged to 31 December.\n")


def test_the_mcp_configuration_names_a_command_with_options_that_exist() -> None:
    configuration = json.loads((EXAMPLES / "mcp.json").read_text(encoding="utf-8"))
    told = StdioServerParameters.model_validate(configuration["mcpServers"]["mitai"])
    assert (told.command, told.args[0]) == ("mitai", "mcp")
    command = typer.main.get_command(app)
    with command.make_context("mitai", ["mcp"]) as context:
        mcp = command.get_command(context, "mcp")
        parsed = mcp.make_context("mcp", list(told.args[1:]), parent=context)  # parses, and runs nothing
    assert (parsed.params["kb"], parsed.params["keychain"]) == (["handbook"], True)
