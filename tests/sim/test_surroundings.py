from __future__ import annotations

import sys
import sysconfig
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai_sim.errors import MeasureError
from mitai_sim.surroundings import ask_interpreter

if TYPE_CHECKING:
    from support.measured_python import MeasuredPython


def test_the_interpreter_describes_itself(measured: MeasuredPython, tmp_path: Path) -> None:
    found = ask_interpreter(measured.command("tell"), tmp_path / "bytecode")
    assert found.version == sys.version
    assert found.binary == Path(sys.executable).resolve()
    assert found.stdlib == Path(sysconfig.get_path("stdlib"))
    assert found.packages == {name: measured.code / name for name in ("mitai_crypto", "mitai_enclave")}
    assert measured.site_packages in found.path
    assert found.stdlib not in found.path
    assert (found.prefix / "pyvenv.cfg").exists()


def test_threat_21_variables_and_the_current_folder_do_not_reach_its_path(
    measured: MeasuredPython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    monkeypatch.chdir(planted)
    command = replace(measured.command("tell"), environment={"PYTHONPATH": str(planted)})
    assert planted not in ask_interpreter(command, tmp_path / "bytecode").path


def test_an_interpreter_that_does_not_start_is_told(measured: MeasuredPython, tmp_path: Path) -> None:
    for wrong in ("/nowhere/python", "/bin/false"):
        with pytest.raises(MeasureError, match="cannot ask the interpreter"):
            ask_interpreter(replace(measured.command("tell"), interpreter=wrong), tmp_path / "bytecode")


def test_a_missing_package_is_told(measured: MeasuredPython, tmp_path: Path) -> None:
    (measured.code / "mitai_enclave").rename(measured.code / "elsewhere")
    with pytest.raises(MeasureError, match="mitai_enclave is not installed"):
        ask_interpreter(measured.command("tell"), tmp_path / "bytecode")
