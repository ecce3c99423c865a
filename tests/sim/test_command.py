from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mitai_sim.command import ENVIRONMENT, MODULES, accept_command, interpreter_options
from mitai_sim.errors import CommandRefused


def test_the_command_is_run_as_a_module_of_this_interpreter() -> None:
    command = accept_command(["mitai-enclave", "serve", "--port", "0"], {})
    assert command.interpreter == sys.executable
    assert command.argv == ("-m", "mitai_enclave", "serve", "--port", "0")


@pytest.mark.parametrize(
    "given",
    [[], ["serve"], ["/tmp/mitai-enclave"], ["./mitai-enclave"], ["python", "-c", "1"], ["mitai-enclave "]],  # noqa: S108
)
def test_nothing_else_is_launched(given: list[str]) -> None:
    with pytest.raises(CommandRefused) as caught:
        accept_command(given, {})
    assert caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONSTARTUP", "HTTPS_PROXY", "HOME", "MITAI_TEE_SOCKET", "path"],
)
def test_threat_21_variables_outside_the_list_are_dropped(name: str) -> None:
    assert name not in accept_command(["mitai-enclave"], {name: "x"}).environment


def test_variables_on_the_list_are_kept_as_they_are() -> None:
    environment = dict.fromkeys(ENVIRONMENT, "值")
    assert accept_command(["mitai-enclave"], environment).environment == environment


def test_no_variable_on_the_list_can_bring_in_code() -> None:
    assert not any(name.startswith(("LD_", "PYTHON", "DYLD_")) for name in ENVIRONMENT)


def test_the_list_is_that_of_the_specification() -> None:
    specification = Path(__file__).parents[2] / "docs" / "spec" / "simulated_tee.md"
    written = re.search(r"MITAI_TEE_SOCKET`: `([A-Z_\s]+)`", specification.read_text(encoding="utf-8"))
    assert written is not None
    assert set(written[1].split()) == ENVIRONMENT


def test_the_interpreter_is_isolated_and_reads_no_bytecode_that_lies_around() -> None:
    assert interpreter_options("/private") == ("-I", "-X", "pycache_prefix=/private")


def test_only_our_own_commands_are_known() -> None:
    assert MODULES == {"mitai-enclave": "mitai_enclave"}
