"""Which value stands for the content of a file or folder?"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import EvidenceError
from mitai_crypto.labels import SIMULATED_TREE_LABEL
from mitai_crypto.manifest import ManifestEntry, tree_digest
from mitai_sim.errors import MeasureError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

CACHE: Final = "__pycache__"


def hash_text(text: str) -> str:
    """Hash a text's UTF-8.

    Raises:
        MeasureError: The text came from bytes that are not UTF-8.
    """
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError:
        raise MeasureError(f"{text!a} is not UTF-8, so it cannot be measured without doubt") from None


def hash_file(path: Path) -> str:
    """Hash the content of a regular file; a link stands for what it points to.

    Raises:
        MeasureError: It is no regular file, or cannot be read.
    """
    return read_entry(path, path.name).sha256


def hash_tree(folder: Path, *, without: Collection[str] = ()) -> str:
    """Hash every file below a folder, names included.

    Args:
        folder: Where to start.
        without: Names of folders to leave out at every level.

    Raises:
        MeasureError: Something in it cannot be read, is no regular file, or there is no file at all.
    """
    try:
        entries = [
            read_entry(path, path.relative_to(folder).as_posix()) for path in files_below(folder, without=without)
        ]
        return tree_digest(entries, label=SIMULATED_TREE_LABEL)
    except EvidenceError as error:
        raise MeasureError(f"cannot measure {folder}: {error}") from error


def files_below(folder: Path, *, without: Collection[str] = ()) -> Iterator[Path]:
    """Yield every file below a folder, sorted; links to folders are refused, for they may lead in circles.

    Raises:
        MeasureError: A folder cannot be read, or a link leads to one.
    """
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in without:
                    yield from files_below(Path(entry.path), without=without)
            elif entry.is_dir():
                raise MeasureError(f"{entry.path} is a link to a folder", hint="Put the folder itself there.")
            else:
                yield Path(entry.path)
    except OSError as error:
        raise MeasureError(f"cannot read {folder}: {error.strerror}") from error


def read_entry(path: Path, name: str) -> ManifestEntry:
    """Hash one file for a manifest.

    Raises:
        MeasureError: It is no regular file, or cannot be read.
    """
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - an fd
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise MeasureError(f"{path} is not a regular file")
            return ManifestEntry(name, status.st_size, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise MeasureError(f"cannot read {path}: {error.strerror}") from error
