"""Which keychains keep a secret, and how is one asked? (`docs/spec/knowledge_base.md` §2.4).

`keyring` takes whatever back end is installed or configured, among them files in the clear.
Here a back end counts by its exact class.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from mitai.errors import NoKeychain
from mitai.formats import KEY_BYTES

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

ALLOWED_BACK_ENDS = frozenset(
    {
        "keyring.backends.SecretService.Keyring",
        "keyring.backends.Windows.WinVaultKeyring",
        "keyring.backends.kwallet.DBusKeyring",
        "keyring.backends.kwallet.DBusKeyringKWallet4",
        "keyring.backends.libsecret.Keyring",
        "keyring.backends.macOS.Keyring",
    }
)
_CHAIN = "keyring.backends.chainer.ChainerBackend"


def store_key(service: str, account: str, key: bytes) -> None:
    """Keep `key` in the operating system's keychain.

    Raises:
        NoKeychain: There is none that keeps secrets, or it refused.
    """
    from keyring.errors import KeyringError  # noqa: PLC0415 - 60 ms that only keychain slots need

    try:
        _back_end().set_password(service, account, base64.b64encode(key).decode())
    except (KeyringError, OSError) as error:
        raise NoKeychain(f"the keychain did not take the key ({type(error).__name__})") from None


def load_key(service: str, account: str) -> bytes:
    """Return the key that `store_key` kept.

    Raises:
        NoKeychain: There is no keychain, it is locked, or it does not hold this key.
    """
    from keyring.errors import KeyringError  # noqa: PLC0415 - 60 ms that only keychain slots need

    try:
        text = _back_end().get_password(service, account)
    except (KeyringError, OSError) as error:
        raise NoKeychain(f"the keychain did not give the key ({type(error).__name__})") from None
    if text is None:
        raise NoKeychain("the keychain of this machine does not hold the key of this knowledge base")
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise NoKeychain("what the keychain holds under the name of this knowledge base is not a key of ours")
    return key


def delete_key(service: str, account: str) -> None:
    """Forget a key; one that is not there is no error.

    Raises:
        NoKeychain: There is no keychain, or it refused.
    """
    from keyring.errors import KeyringError, PasswordDeleteError  # noqa: PLC0415 - as above

    try:
        _back_end().delete_password(service, account)
    except PasswordDeleteError:
        return
    except (KeyringError, OSError) as error:
        raise NoKeychain(f"the keychain did not delete the key ({type(error).__name__})") from None


def _back_end() -> KeyringBackend:
    from keyring import get_keyring  # noqa: PLC0415 - 60 ms that only keychain slots need

    chosen = get_keyring()
    # A chain asks each of its members in turn: only a member that counts is used, and by itself.
    members: list[KeyringBackend] = list(getattr(chosen, "backends", ())) if _name(chosen) == _CHAIN else [chosen]
    for member in members:
        if _name(member) in ALLOWED_BACK_ENDS:
            return member
    raise NoKeychain(f"the keyring back end {_name(chosen)} is not one that keeps secrets")


def _name(back_end: object) -> str:
    kind = type(back_end)
    return f"{kind.__module__}.{kind.__qualname__}"
