from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mitai.keyslots import private_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_threat_32_secret_files_are_for_their_owner_only(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        private_file.create_empty(tmp_path / "empty")
        private_file.replace(tmp_path / "full", b"data")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_replacing_leaves_one_file_with_the_new_bytes(tmp_path: Path) -> None:
    (tmp_path / "slots").write_bytes(b"old")
    (tmp_path / "slots.new").write_bytes(b"left by a killed process")
    private_file.replace(tmp_path / "slots", b"new")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"slots": b"new"}


def test_replacing_keeps_the_old_bytes_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slots").write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        private_file.replace(tmp_path / "slots", b"new")
    assert (tmp_path / "slots").read_bytes() == b"old"


def test_creating_never_opens_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "there").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        private_file.create_empty(tmp_path / "there")
    assert not (tmp_path / "elsewhere").exists()
