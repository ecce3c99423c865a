"""Where the command line takes secrets from: a prompt, a file descriptor, a private file – never argv."""

from __future__ import annotations

import os
import stat
import sys
from getpass import getpass
from pathlib import Path

from mitai.errors import SecretUnavailable

_MAX_SECRET_BYTES = 64 * 1024


def read_descriptor(descriptor: int) -> str:
    """Read a secret from an open file descriptor up to its end; one trailing newline is dropped."""
    try:
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            data = stream.read(_MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise SecretUnavailable(
            f"file descriptor {descriptor} cannot be read ({error.strerror})",
            hint="Open it in the same command: mitai … --passphrase-fd 3 3<FILE",
        ) from None
    return _decode(data, f"file descriptor {descriptor}")


def read_private_file(path: Path) -> str:
    """Read a secret from a file that only its owner can read.

    Raises:
        SecretUnavailable: The file is missing, or others may read it.
    """
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise SecretUnavailable(f"{path} cannot be read ({error.strerror})") from None
    if stat.S_IMODE(mode) & 0o077:
        raise SecretUnavailable(f"{path} can be read by others", hint=f"Run: chmod 600 {path}")
    return _decode(data, str(path))


def ask_passphrase(prompt: str, *, confirm: bool = False) -> str:
    """Ask for a passphrase on the terminal, twice where it is a new one."""
    if not sys.stdin.isatty():
        raise SecretUnavailable(
            "a passphrase is needed and there is no terminal to ask on",
            hint="Give it by --passphrase-fd N, by --passphrase-file FILE (mode 0600), or use a keychain slot.",
        )
    secret = getpass(f"{prompt}: ", stream=sys.stderr)
    if confirm and getpass("Once more: ", stream=sys.stderr) != secret:
        raise SecretUnavailable("the two passphrases differ", hint="Nothing was changed; try again.")
    return secret


def _decode(data: bytes, source: str) -> str:
    if len(data) > _MAX_SECRET_BYTES:
        raise SecretUnavailable(f"{source} holds more than {_MAX_SECRET_BYTES} bytes; that is no passphrase")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{source} is not UTF-8 text") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SecretUnavailable(f"{source} is empty")
    return text
