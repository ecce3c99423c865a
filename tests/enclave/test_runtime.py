from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.errors import ConfigurationError
from mitai_enclave.runtime import holder, open_runtime

if TYPE_CHECKING:
    from pathlib import Path


def test_threat_32_the_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with open_runtime(tmp_path / "new") as runtime:
        for folder in (tmp_path / "new", runtime.root, runtime.home):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (runtime.root / "model").mkdir()
        (runtime.model / "file").write_text("x")
        runtime.model.chmod(0o500)
    assert list((tmp_path / "new").iterdir()) == []


def test_threat_32_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigurationError, match="open to other users"), open_runtime(tmp_path):
        pass
    (tmp_path / "private").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "private")
    with pytest.raises(ConfigurationError), open_runtime(tmp_path / "link"):
        pass


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be made"), open_runtime(tmp_path / "file" / "below"):
        pass


def test_what_a_killed_run_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with open_runtime(base) as living:
        dead = base / "run-dead"
        dead.mkdir()
        (dead / "lock").touch()
        (dead / "model").write_text("left over")
        unlocked = base / "run-other"
        unlocked.mkdir()
        with open_runtime(base) as second:
            assert living.root.exists()
            assert second.root.exists()
            assert not dead.exists()
            assert unlocked.exists()  # without a lock it may be one that is just being made


def test_the_default_is_in_memory() -> None:
    with open_runtime(None) as runtime:
        assert holder(runtime.root) == "memory"
        assert len(str(runtime.socket)) < 100


def test_a_disk_is_told_from_memory(tmp_path: Path) -> None:
    assert holder(tmp_path / "..") in {"disk", "memory"}
