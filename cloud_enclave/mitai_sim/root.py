"""Where does this machine's simulated root live, and who may read it? (`docs/spec/simulated_tee.md` §1)."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import platformdirs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from mitai_crypto.simulated_quote import CHIP_ID_BYTES
from mitai_sim.endorse import Root, make_platform, make_root
from mitai_sim.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
SECRET_BYTES: Final = 32
_ROOT_CERTIFICATE: Final = "root.cert.pem"
_ROOT_KEY: Final = "root.key.pem"
_PLATFORM_CERTIFICATE: Final = "platform.cert.pem"
_PLATFORM_KEY: Final = "platform.key.pem"
_SEALING_SECRET: Final = "sealing.secret"  # noqa: S105 - a file name


@dataclass(frozen=True)
class Machine:
    """The simulated hardware of one machine.

    Attributes:
        root: Vouches for the platform.
        platform: Certificate of the quoting key.
        platform_key: Signs quotes.
        sealing_secret: 32 bytes from which sealing keys are derived.
    """

    root: Root
    platform: x509.Certificate
    platform_key: Ed25519PrivateKey = field(repr=False)
    sealing_secret: bytes = field(repr=False)

    @property
    def chip_id(self) -> str:
        """The chip id in the platform certificate, in hex."""
        return str(self.platform.subject.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value)


def default_state_folder() -> Path:
    """Return where the root lives unless told otherwise."""
    return platformdirs.user_data_path("mitai") / "simulated-tee"


def load_machine(folder: Path, *, now: int) -> Machine:
    """Load the machine's root; make it on first use.

    Args:
        folder: Must be private to this user (0700), each file in it too (0600).
        now: Unix seconds, for new certificates.

    Raises:
        StateError: Somebody else could read or replace a file, or a file is missing or damaged.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        _create(folder, make_machine(now=now))
    return _load(folder)


def make_machine(*, now: int) -> Machine:
    """Make a new root and platform in memory."""
    root = make_root(Ed25519PrivateKey.generate(), now=now)
    platform_key = Ed25519PrivateKey.generate()
    chip_id = secrets.token_hex(CHIP_ID_BYTES)
    platform = make_platform(root, platform_key.public_key(), chip_id=chip_id, now=now)
    return Machine(root, platform, platform_key, secrets.token_bytes(SECRET_BYTES))


def _create(folder: Path, machine: Machine) -> None:
    """Write all files beside `folder` and move them there at once, so that no half-made root is ever seen."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))  # made with mode 0700
    except OSError as error:
        raise StateError(f"cannot make the machine's root in {folder}: {error.strerror}") from error
    try:
        for name, content in (
            (_ROOT_CERTIFICATE, machine.root.certificate.public_bytes(Encoding.PEM)),
            (_ROOT_KEY, _encode_key(machine.root.key)),
            (_PLATFORM_CERTIFICATE, machine.platform.public_bytes(Encoding.PEM)),
            (_PLATFORM_KEY, _encode_key(machine.platform_key)),
            (_SEALING_SECRET, machine.sealing_secret),
        ):
            _write_private(draft / name, content)
        draft.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # otherwise another launcher was faster: its root is as good
            raise StateError(f"cannot make the machine's root in {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _load(folder: Path) -> Machine:
    _check_private(folder, FOLDER_MODE, stat.S_ISDIR)
    try:
        root_key = load_pem_private_key(_read_private(folder / _ROOT_KEY), None)
        platform_key = load_pem_private_key(_read_private(folder / _PLATFORM_KEY), None)
        root = x509.load_pem_x509_certificate(_read_private(folder / _ROOT_CERTIFICATE))
        platform = x509.load_pem_x509_certificate(_read_private(folder / _PLATFORM_CERTIFICATE))
    except (ValueError, TypeError) as error:
        raise _damaged(folder) from error
    secret = _read_private(folder / _SEALING_SECRET)
    if (
        not isinstance(root_key, Ed25519PrivateKey)
        or not isinstance(platform_key, Ed25519PrivateKey)
        or root_key.public_key() != root.public_key()
        or platform_key.public_key() != platform.public_key()
        or len(secret) != SECRET_BYTES
    ):
        raise _damaged(folder)
    return Machine(Root(root, root_key), platform, platform_key, secret)


def _encode_key(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read_private(path: Path) -> bytes:
    _check_private(path, FILE_MODE, stat.S_ISREG)
    return path.read_bytes()


def _check_private(path: Path, mode: int, is_kind: Callable[[int], bool]) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError as error:
        raise _damaged(path.parent) from error
    if not is_kind(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & ~mode:
        raise StateError(
            f"{path} must belong to this user and be open to nobody else",
            hint=f"If nobody else has read it: chmod {mode:o} {path}; otherwise remove the folder.",
        )


def _damaged(folder: Path) -> StateError:
    return StateError(
        f"the simulated root in {folder} is damaged or incomplete",
        hint="Remove the folder; a new root is made, and policies that pin the old one must be written anew.",
    )
