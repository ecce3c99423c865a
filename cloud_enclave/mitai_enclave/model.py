"""Which bytes does the engine load? A private copy, hashed while it is written and before each restart."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import EvidenceError
from mitai_crypto.manifest import ManifestEntry, model_digest
from mitai_enclave.errors import ModelChanged, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_BLOCK: Final = 4 * 1024 * 1024
_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_CONFIG: Final = "config.json"


@dataclass(frozen=True, slots=True)
class PrivateModel:
    """The copy that the engine loads.

    Attributes:
        path: Its folder.
        digest: Model digest of exactly its files, hex.
    """

    path: Path
    digest: str

    def verify(self) -> None:
        """Hash the copy again.

        Raises:
            ModelChanged: It is not what was hashed when it was made.
        """
        try:
            found = hash_model(self.path)
        except ModelUnavailable as error:
            raise ModelChanged("The private copy of the model cannot be read any more.") from error
        if found != self.digest:
            raise ModelChanged("The private copy of the model was changed after it was hashed.")


def hash_model(source: Path) -> str:
    """Return the model digest of a folder, hex.

    Raises:
        ModelUnavailable: It is not a readable model folder.
    """
    with _readable(source):
        return model_digest(_entry(name, path, None) for name, path in _list_files(source))


def copy_model(source: Path, target: Path) -> PrivateModel:
    """Copy a model folder to `target` (which must not exist), hashing the bytes that are written.

    Hidden files are left out, so that the engine cannot read what is not in the digest. Links are followed:
    the hub's cache is made of them, and the copy has none.

    Raises:
        ModelUnavailable: The source cannot be read, or there is no room for the copy.
    """
    with _readable(source):
        target.mkdir(mode=0o700)
        entries = [_entry(name, path, target / name) for name, path in _list_files(source)]
        for folder, _, _ in os.walk(target, topdown=False):
            os.chmod(folder, 0o500)  # noqa: PTH101 - os.walk gives text
        return PrivateModel(target, model_digest(entries))


def locate_model(name: str) -> Path:
    """Return the folder for a path or a Hugging Face id; an id is fetched where a hub is reachable.

    Raises:
        ModelUnavailable: It is neither, or the hub does not give it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.absolute()
    if not _HUB_ID.fullmatch(name):
        raise ModelUnavailable(f"There is no model folder {name}.")
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - only where there is vLLM
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ModelUnavailable(f"{name} is a hub id, and huggingface_hub is not installed.") from error
    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelUnavailable(
            f"The hub does not give the model {name}.",
            hint="Check the name and the network, or give a folder.",
        ) from error


@contextmanager
def _readable(source: Path) -> Iterator[None]:
    try:
        if not (source / _CONFIG).is_file():
            raise ModelUnavailable(f"{source} holds no {_CONFIG}.")
        yield
    except EvidenceError as error:
        raise ModelUnavailable(f"A file name of the model cannot be used: {error}.") from error
    except OSError as error:
        raise ModelUnavailable(f"The model cannot be read or copied: {error.strerror}.") from error


def _list_files(source: Path) -> list[tuple[str, Path]]:
    found = []
    for folder, folders, files in os.walk(source, onerror=_reraise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if not name.startswith("."):
                found.append((path.relative_to(source).as_posix(), path))
    return found


def _reraise(error: OSError) -> None:
    raise error


def _entry(name: str, source: Path, target: Path | None) -> ManifestEntry:
    digest, size = hashlib.sha256(), 0
    # Not blocking: a pipe or device put in place of a file must not hang the start.
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as reader:
        if not stat.S_ISREG(os.fstat(reader.fileno()).st_mode):
            raise ModelUnavailable(f"{name} is not a regular file.")
        with _writer(target) as writer:
            while block := reader.read(_BLOCK):
                digest.update(block)
                size += len(block)
                if writer is not None:
                    writer.write(block)
    return ManifestEntry(name, size, digest.hexdigest())


@contextmanager
def _writer(target: Path | None) -> Iterator[BinaryIO | None]:
    if target is None:
        yield None
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(descriptor, "wb") as file:
        yield file
