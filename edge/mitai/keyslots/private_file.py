"""How does a file reach the disk whole, and readable by its owner only?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mitai.formats import FILE_MODE

if TYPE_CHECKING:
    from pathlib import Path


def create_empty(path: Path) -> None:
    """Create an empty file with mode 0600.

    Raises:
        FileExistsError: Something has that name.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)  # whatever the umask took away, nothing was added
    finally:
        os.close(descriptor)


def replace(path: Path, data: bytes) -> None:
    """Put `data` at `path` atomically with mode 0600: a reader, or a crash, meets the old bytes or the new ones."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)  # left by a killed process
    create_empty(fresh)
    with fresh.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    if os.name != "posix":
        return  # Windows cannot open a folder; its rename is journalled
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
