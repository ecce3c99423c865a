"""The private folder of one run: model copy, engine socket, the engine's home; gone when the run ends.

The host's disk is hostile, so the folder belongs in memory: `/dev/shm` unless the operator names another.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_enclave.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a private folder of mode 0700 is made inside
_MOUNTS: Final = Path("/proc/self/mounts")
_PREFIX: Final = "run-"
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class RuntimeFolder:
    """Where the files of one run are.

    Attributes:
        root: The folder, mode 0700.
    """

    root: Path

    @property
    def model(self) -> Path:
        """The private copy of the model."""
        return self.root / "model"

    @property
    def socket(self) -> Path:
        """The engine's HTTP socket."""
        return self.root / "engine.sock"

    @property
    def home(self) -> Path:
        """The engine's home, caches and temporary files."""
        return self.root / "home"


@contextmanager
def open_runtime(parent: Path | None) -> Iterator[RuntimeFolder]:
    """Make a private folder for this run and remove it in the end.

    What earlier runs of the same user left behind, because they were killed, is removed first.

    Args:
        parent: The folder to make it in, made with mode 0700 where it does not exist; None for one in memory.

    Raises:
        ConfigurationError: The parent is not a folder that only this user can read and write.
    """
    base = _default_parent() if parent is None else parent.absolute()
    _make_private(base)
    _remove_leftovers(base)
    root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
    lock = _lock(root)
    try:
        folder = RuntimeFolder(root)
        folder.home.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(root)
        if lock is not None:
            os.close(lock)


def holder(path: Path) -> str:
    """Return what holds `path`: `memory` or `disk` (which the host may read and change)."""
    best, kind = "", "disk"
    for line in _MOUNTS.read_text(encoding="utf-8").splitlines():
        _, mount, filesystem, *_ = line.split(" ")
        inside = mount == "/" or path.is_relative_to(mount)
        if inside and len(mount) >= len(best):
            best, kind = mount, "memory" if filesystem in {"tmpfs", "ramfs"} else "disk"
    return kind


def _default_parent() -> Path:
    name = f"mitai-enclave-{os.getuid()}"
    return (_MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())) / name


def _make_private(base: Path) -> None:
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = base.lstat()
    except OSError as error:
        raise ConfigurationError(f"The runtime folder cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            "The runtime folder is open to other users of this machine.",
            hint="Give --runtime-dir a folder of your own with mode 0700.",
        )


def _lock(root: Path) -> int | None:
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_leftovers(base: Path) -> None:
    for left in base.glob(f"{_PREFIX}*"):
        lock = _lock(left) if (left / _LOCK).exists() else None
        if lock is not None:
            _remove(left)
            os.close(lock)


def _remove(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        os.chmod(folder, 0o700)  # noqa: PTH101 - os.walk gives text; the copy's folders are read-only
    shutil.rmtree(root, ignore_errors=True)
