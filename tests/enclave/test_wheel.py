"""The enclave wheel is our part of the trusted computing base: this list is the pin."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]

ENCLAVE = """
__init__ __main__ account address answer asgi assembly attestation body channel child cli codec config connections
engine engine_command epochs errors frames gateway guard inner intake keeper keeper_client listen log messages
metrics model observe problems replay replica routes runtime salt server slots tee/__init__ tee/configfs tee/quote
tee/select tee/simulated tokens tracing unseal upstream welcome worker workers
""".split()  # noqa: SIM905 - a list of words reads best as words


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT / "cloud_enclave",
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    assert path.name == "mitai_enclave-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path) as file:
        yield file


def code(wheel: zipfile.ZipFile) -> set[str]:
    return {name for name in wheel.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_exactly_two_packages(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in code(wheel)} == {"mitai_enclave", "mitai_crypto"}


def test_the_wheel_holds_exactly_these_modules(wheel: zipfile.ZipFile) -> None:
    expected = {f"mitai_enclave/{name}.py" for name in ENCLAVE} | {"mitai_enclave/py.typed"}
    assert {name for name in code(wheel) if name.startswith("mitai_enclave/")} == expected
    crypto = ROOT / "shared" / "crypto"
    sources = {path.relative_to(crypto).as_posix() for path in crypto.rglob("*") if path.suffix in {".py", ".typed"}}
    assert {name for name in code(wheel) if name.startswith("mitai_crypto/")} == sources


def test_threat_26_no_simulator_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    assert not [name for name in wheel.namelist() if "mitai_sim" in name]
    metadata = wheel.read("mitai_enclave-0.1.0.dist-info/METADATA").decode()
    assert "mitai-sim" not in metadata


def test_what_is_required_is_pinned(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read("mitai_enclave-0.1.0.dist-info/METADATA").decode()
    required = {
        line.split(": ")[1].split(">")[0] for line in metadata.splitlines()
        if line.startswith("Requires-Dist") and "extra ==" not in line
    }  # fmt: skip
    assert required == {"cryptography", "httptools", "prometheus-client", "structlog", "typer", "uvicorn", "uvloop"}
