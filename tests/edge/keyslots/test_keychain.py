from __future__ import annotations

from typing import TYPE_CHECKING

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import SecretService, chainer, fail, null
from keyring.errors import KeyringLocked, PasswordDeleteError

from mitai.errors import NoKeychain
from mitai.keyslots import keychain

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = bytes(range(32))


class _Memory:
    """Keeps passwords the way a keychain does."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def set_password(self, service: str, account: str, password: str) -> None:
        self.kept[service, account] = password

    def get_password(self, service: str, account: str) -> str | None:
        return self.kept.get((service, account))

    def delete_password(self, service: str, account: str) -> None:
        if self.kept.pop((service, account), None) is None:
            raise PasswordDeleteError


class PlaintextKeyring(KeyringBackend):
    """A back end that writes secrets into a file, as `keyrings.alt` does."""

    priority = 9  # type: ignore[assignment] # keyring computes it with a class property

    def get_password(self, service: str, username: str) -> str | None:
        raise AssertionError(f"a back end that does not count was asked for {service}, {username}")

    set_password = delete_password = get_password  # type: ignore[assignment] # none may be called


@pytest.fixture
def secret_service(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Memory]:
    """The real class of the Secret Service back end, with its D-Bus calls answered in memory."""
    memory = _Memory()
    for name in ("set_password", "get_password", "delete_password"):
        monkeypatch.setattr(SecretService.Keyring, name, staticmethod(getattr(memory, name)))
    before = keyring.get_keyring()
    keyring.set_keyring(SecretService.Keyring())
    yield memory
    keyring.set_keyring(before)


def _use(monkeypatch: pytest.MonkeyPatch, back_end: KeyringBackend) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: back_end)


def test_a_key_comes_back_and_can_be_forgotten(secret_service: _Memory) -> None:
    keychain.store_key("mitai", "kb/slot", KEY)
    assert keychain.load_key("mitai", "kb/slot") == KEY
    keychain.delete_key("mitai", "kb/slot")
    keychain.delete_key("mitai", "kb/slot")
    with pytest.raises(NoKeychain, match="does not hold"):
        keychain.load_key("mitai", "kb/slot")


@pytest.mark.parametrize("back_end", [PlaintextKeyring(), fail.Keyring(), null.Keyring()])
def test_back_ends_that_keep_no_secret_are_refused_by_class(
    monkeypatch: pytest.MonkeyPatch, back_end: KeyringBackend
) -> None:
    _use(monkeypatch, back_end)
    for call in (lambda: keychain.store_key("s", "a", KEY), lambda: keychain.load_key("s", "a")):
        with pytest.raises(NoKeychain, match=type(back_end).__name__):
            call()


def test_a_subclass_of_an_allowed_back_end_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impostor(SecretService.Keyring):
        pass

    _use(monkeypatch, Impostor())
    with pytest.raises(NoKeychain, match="Impostor"):
        keychain.store_key("s", "a", KEY)


def test_of_a_chain_only_a_member_that_counts_is_used(monkeypatch: pytest.MonkeyPatch, secret_service: _Memory) -> None:
    members = [PlaintextKeyring(), SecretService.Keyring()]
    monkeypatch.setattr(chainer.ChainerBackend, "backends", members)
    _use(monkeypatch, chainer.ChainerBackend())
    keychain.store_key("mitai", "kb/slot", KEY)
    assert keychain.load_key("mitai", "kb/slot") == KEY
    members.pop()
    with pytest.raises(NoKeychain, match="ChainerBackend"):
        keychain.load_key("mitai", "kb/slot")


@pytest.mark.parametrize("kept", ["", "c2hvcnQ=", "not base64!", "A" * 44])
def test_what_is_not_a_key_of_ours_is_refused(secret_service: _Memory, kept: str) -> None:
    secret_service.kept["mitai", "kb/slot"] = kept
    with pytest.raises(NoKeychain, match="not a key"):
        keychain.load_key("mitai", "kb/slot")


def test_a_locked_keychain_is_our_error(secret_service: _Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: str) -> None:
        raise KeyringLocked("Failed to unlock the collection!")

    for name in ("set_password", "get_password", "delete_password"):
        monkeypatch.setattr(SecretService.Keyring, name, staticmethod(locked))
    with pytest.raises(NoKeychain, match="KeyringLocked"):
        keychain.load_key("mitai", "kb/slot")
    with pytest.raises(NoKeychain, match="KeyringLocked"):
        keychain.store_key("mitai", "kb/slot", KEY)
    with pytest.raises(NoKeychain, match="KeyringLocked"):
        keychain.delete_key("mitai", "kb/slot")
