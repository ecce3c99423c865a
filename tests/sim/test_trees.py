from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.labels import SIMULATED_TREE_LABEL
from mitai_crypto.manifest import ManifestEntry, tree_digest
from mitai_sim.errors import MeasureError
from mitai_sim.trees import files_below, hash_file, hash_text, hash_tree, read_entry

if TYPE_CHECKING:
    from pathlib import Path


def test_a_text_is_hashed_as_utf_8() -> None:
    assert hash_text("密态") == hashlib.sha256("密态".encode()).hexdigest()
    with pytest.raises(MeasureError, match="UTF-8"):
        hash_text("\udc80")


def test_a_file_is_hashed_and_a_link_stands_for_its_target(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    assert hash_file(tmp_path / "a") == hash_file(tmp_path / "link") == hashlib.sha256(b"x").hexdigest()
    assert read_entry(tmp_path / "a", "name") == ManifestEntry("name", 1, hashlib.sha256(b"x").hexdigest())


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "dangling"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to("nowhere")
    with pytest.raises(MeasureError):
        hash_file(path)
    if kind in {"pipe", "dangling"}:
        with pytest.raises(MeasureError):
            hash_tree(tmp_path)


def test_a_tree_is_its_files_with_their_names(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "模型").write_bytes(b"1")
    (tmp_path / "a").write_bytes(b"2")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "c").write_bytes(b"3")
    entries = [
        ManifestEntry("a", 1, hashlib.sha256(b"2").hexdigest()),
        ManifestEntry("b/模型", 1, hashlib.sha256(b"1").hexdigest()),
    ]
    assert hash_tree(tmp_path, without=["__pycache__"]) == tree_digest(entries, label=SIMULATED_TREE_LABEL)
    assert hash_tree(tmp_path) != hash_tree(tmp_path, without=["__pycache__"])
    assert [path.name for path in files_below(tmp_path)] == ["c", "a", "模型"]


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_bytes(b"")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    with pytest.raises(MeasureError, match="link to a folder") as caught:
        hash_tree(tmp_path)
    assert caught.value.hint


def test_nothing_is_no_measurement(tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="without files"):
        hash_tree(tmp_path)
    with pytest.raises(MeasureError):
        hash_tree(tmp_path / "missing")


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    with open(os.path.join(os.fsencode(tmp_path), b"\xff"), "wb"):  # noqa: PTH118, PTH123 - a name in bytes
        pass
    with pytest.raises(MeasureError):
        hash_tree(tmp_path)
