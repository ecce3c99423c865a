from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.simulated_log import Event, replay
from mitai_sim.errors import MeasureError
from mitai_sim.measure import measure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.measured_python import MeasuredPython


def events_of(
    measured: MeasuredPython,
    *given: str,
    inputs: tuple[Path, ...] = (),
    environment: dict[str, str] | None = None,
) -> tuple[Event, ...]:
    command = measured.command(*given, environment=environment)
    return measure(command, [str(path) for path in inputs], measured.folder / "bytecode")


def changed(before: tuple[Event, ...], after: tuple[Event, ...]) -> list[str]:
    one, other = replay(before), replay(after)
    return [name for name in one if one[name] != other[name]]


def test_the_same_gives_the_same_registers(measured: MeasuredPython, tmp_path: Path) -> None:
    (tmp_path / "tokens.toml").write_text("")
    first = events_of(measured, "tell", inputs=(tmp_path / "tokens.toml",), environment={"TZ": "UTC"})
    second = events_of(measured, "tell", inputs=(tmp_path / "tokens.toml",), environment={"TZ": "UTC"})
    assert first == second


def test_the_log_names_what_the_specification_lists(measured: MeasuredPython, tmp_path: Path) -> None:
    tokens = tmp_path / "令牌.toml"
    tokens.write_text("x")
    events = events_of(measured, "serve", "--port", "0", inputs=(tokens,), environment={"TZ": "UTC"})
    named = {(event.register, event.kind, event.name): event.digest for event in events}
    for name in ("binary", "flags", "stdlib", "version", "pyvenv.cfg"):
        assert (0, "interpreter", name) in named
    assert (0, "system", "platform") in named
    assert any(key[:2] == (1, "distribution") and key[2].startswith("cryptography-") for key in named)
    assert (1, "hook", "measured.pth") in named
    assert (2, "file", "mitai_crypto/verify.py") in named
    assert named[2, "file", "mitai_enclave/marker.py"] == hashlib.sha256(b'VALUE = "source"\n').hexdigest()
    assert not any("__pycache__" in name or name.endswith(".pyc") for _, _, name in named)
    assert not any(key[2].startswith("mitai_sim/") for key in named)
    argv = [event.digest for event in events if event.kind == "argv"]
    given = ("mitai-enclave", "serve", "--port", "0")
    assert argv == [hashlib.sha256(part.encode()).hexdigest() for part in given]
    assert named[3, "env", "TZ"] == hashlib.sha256(b"UTC").hexdigest()
    assert named[3, "input", str(tokens)] == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize("package", ["mitai_crypto", "mitai_enclave"])
def test_threat_21_one_byte_of_our_code_changes_the_measurement(measured: MeasuredPython, package: str) -> None:
    before = events_of(measured, "tell")
    file = measured.code / package / "__init__.py"
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    assert changed(before, events_of(measured, "tell")) == ["r2"]


def _add_module(measured: MeasuredPython) -> None:
    (measured.code / "mitai_enclave" / "extra.py").write_text("")


def _rename_module(measured: MeasuredPython) -> None:
    (measured.code / "mitai_enclave" / "marker.py").rename(measured.code / "mitai_enclave" / "other.py")


def _plant_top_level_module(measured: MeasuredPython) -> None:
    (measured.site_packages / "orjson.py").write_text("")


def _plant_hook(measured: MeasuredPython) -> None:
    (measured.site_packages / "evil.pth").write_text("import os\n")


def _change_hook(measured: MeasuredPython) -> None:
    hook = measured.site_packages / "measured.pth"
    hook.write_text(hook.read_text() + "import os\n")


def _plant_sitecustomize(measured: MeasuredPython) -> None:
    (measured.site_packages / "sitecustomize.py").write_text("")


def _install(measured: MeasuredPython) -> None:
    (measured.site_packages / "evil-1.0.dist-info").mkdir()
    (measured.site_packages / "evil-1.0.dist-info" / "RECORD").write_text("evil.py,,\n")


def _change_venv(measured: MeasuredPython) -> None:
    config = measured.folder / "venv" / "pyvenv.cfg"
    config.write_text(config.read_text() + "# changed\n")


@pytest.mark.parametrize(
    ("change", "registers"),
    [
        (_add_module, ["r2"]),
        (_rename_module, ["r2"]),
        (_plant_top_level_module, ["r1"]),
        (_plant_hook, ["r1"]),
        (_change_hook, ["r1"]),
        (_plant_sitecustomize, ["r1"]),
        (_install, ["r1"]),
        (_change_venv, ["r0"]),
    ],
)
def test_threat_21_what_could_run_changes_the_measurement(
    measured: MeasuredPython, change: Callable[[MeasuredPython], None], registers: list[str]
) -> None:
    before = events_of(measured, "tell")
    change(measured)
    assert changed(before, events_of(measured, "tell")) == registers


def test_threat_21_a_record_changes_the_measurement(measured: MeasuredPython) -> None:
    _install(measured)
    before = events_of(measured, "tell")
    (measured.site_packages / "evil-1.0.dist-info" / "RECORD").write_text("evil.py,sha256=x,1\n")
    assert changed(before, events_of(measured, "tell")) == ["r1"]


def test_threat_21_arguments_and_environment_change_the_measurement(measured: MeasuredPython) -> None:
    before = events_of(measured, "serve", "a", "b", environment={"TZ": "UTC"})
    for given, environment in (
        (("serve", "a"), {"TZ": "UTC"}),
        (("serve", "b", "a"), {"TZ": "UTC"}),
        (("serve", "a b"), {"TZ": "UTC"}),
        (("serve", "a", "b", ""), {"TZ": "UTC"}),
        (("serve", "a", "b"), {"TZ": "UTC+8"}),
        (("serve", "a", "b"), {"TZ": "UTC", "LANG": "C"}),
        (("serve", "a", "b"), {}),
    ):
        assert changed(before, events_of(measured, *given, environment=environment)) == ["r3"]


def test_threat_21_configuration_and_model_change_the_measurement(measured: MeasuredPython, tmp_path: Path) -> None:
    tokens, model = tmp_path / "tokens.toml", tmp_path / "model"
    tokens.write_text("a")
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights")
    before = events_of(measured, "tell", inputs=(tokens, model))
    assert changed(before, events_of(measured, "tell", inputs=(model, tokens))) == []
    (model / "model.safetensors").write_bytes(b"weightz")
    after = events_of(measured, "tell", inputs=(tokens, model))
    assert changed(before, after) == ["r3"]
    tokens.write_text("b")
    assert changed(after, events_of(measured, "tell", inputs=(tokens, model))) == ["r3"]
    assert changed(before, events_of(measured, "tell", inputs=(tokens,))) == ["r3"]


def test_an_input_that_is_not_there_is_told(measured: MeasuredPython, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="tokens"):
        events_of(measured, "tell", inputs=(tmp_path / "tokens.toml",))


def test_bytecode_beside_the_source_is_neither_measured_nor_missed(measured: MeasuredPython) -> None:
    before = events_of(measured, "tell")
    cache = measured.code / "mitai_enclave" / "__pycache__"
    cache.mkdir()
    (cache / "marker.cpython-311.pyc").write_bytes(b"planted")
    assert changed(before, events_of(measured, "tell")) == []  # test_launch shows that it does not run
