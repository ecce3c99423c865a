from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mitai_enclave import model
from mitai_enclave.errors import ModelChanged, ModelUnavailable
from mitai_enclave.model import copy_model, hash_model, locate_model

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(100_000))
    (folder / "sub" / "詞表.txt").write_text("密态")
    return folder


def test_the_copy_has_the_digest_of_its_source(source: Path, tmp_path: Path) -> None:
    copy = copy_model(source, tmp_path / "copy")
    assert copy.digest == hash_model(source) == hash_model(copy.path)
    copy.verify()
    for path in copy.path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o500 if path.is_dir() else 0o400)


def test_hidden_files_are_neither_hashed_nor_copied(source: Path, tmp_path: Path) -> None:
    before = hash_model(source)
    (source / ".cache").mkdir()
    (source / ".cache" / "x").write_text("x")
    (source / ".gitattributes").write_text("x")
    copy = copy_model(source, tmp_path / "copy")
    assert copy.digest == before
    assert not list(copy.path.glob(".*"))


def test_links_are_followed_and_the_copy_has_none(source: Path, tmp_path: Path) -> None:
    before = hash_model(source)
    (source / "model.safetensors").rename(tmp_path / "blob")
    (source / "model.safetensors").symlink_to(tmp_path / "blob")
    copy = copy_model(source, tmp_path / "copy")
    assert copy.digest == before
    assert not (copy.path / "model.safetensors").is_symlink()


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "sub/詞表.txt"])
def test_threat_45_a_file_swapped_after_hashing_is_refused(source: Path, tmp_path: Path, name: str) -> None:
    copy = copy_model(source, tmp_path / "copy")
    target = copy.path / name
    target.chmod(0o600)
    data = target.read_bytes()
    target.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelChanged):
        copy.verify()


def test_threat_45_an_added_or_removed_file_is_refused(source: Path, tmp_path: Path) -> None:
    copy = copy_model(source, tmp_path / "copy")
    copy.path.chmod(0o700)
    (copy.path / "modeling_x.py").write_text("import os")
    with pytest.raises(ModelChanged):
        copy.verify()
    (copy.path / "modeling_x.py").unlink()
    copy.verify()
    (copy.path / "config.json").unlink()
    with pytest.raises(ModelChanged):
        copy.verify()


def test_threat_45_the_source_may_change_while_the_copy_is_used(source: Path, tmp_path: Path) -> None:
    copy = copy_model(source, tmp_path / "copy")
    (source / "model.safetensors").write_bytes(b"other weights")
    copy.verify()


def test_a_pipe_does_not_hang_the_start(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "weights.bin")
    with pytest.raises(ModelUnavailable, match="regular"):
        copy_model(source, tmp_path / "copy")


def test_what_is_no_model_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        hash_model(tmp_path)
    with pytest.raises(ModelUnavailable, match="no model folder"):
        locate_model("/no/such/folder")


def test_a_dangling_link_is_refused(source: Path) -> None:
    (source / "gone").symlink_to("/no/such/file")
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        hash_model(source)


def test_a_folder_is_found_and_a_hub_id_asks_the_hub(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert locate_model(str(source)) == source
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda name: str(source) if name == "a/b" else 1 / 0)
    assert locate_model("a/b") == source


def test_a_hub_that_is_not_there_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(_: str) -> str:
        raise hub.errors.LocalEntryNotFoundError("offline")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    with pytest.raises(ModelUnavailable, match="hub does not give"):
        model.locate_model("someone/some-model")
