"""Open a knowledge base or an enclave client from what the command line was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mitai.cli.places import knowledge_base_path
from mitai.cli.secrets import ask_passphrase, read_descriptor, read_private_file
from mitai.errors import SecretUnavailable
from mitai.padding import PADDED, Padding

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.enclave import EnclaveClient
    from mitai.knowledge_base import KnowledgeBase


@dataclass(frozen=True)
class KeySource:
    """Where the key of a knowledge base comes from: a descriptor, a private file, the keychain, or else a prompt."""

    descriptor: int | None = None
    file: Path | None = None
    keychain: bool = False
    secret: str | None = field(default=None, repr=False)

    def read_once(self) -> KeySource:
        """Return a source that can be asked again: a descriptor gives its secret only once."""
        if self.descriptor is None:
            return self
        return KeySource(secret=read_descriptor(self.descriptor), keychain=self.keychain)

    def passphrase(self, prompt: str, *, confirm: bool = False) -> str:
        """Return the passphrase; ask on the terminal where no other source was named."""
        if self.secret is not None:
            return self.secret
        if self.descriptor is not None:
            return read_descriptor(self.descriptor)
        if self.file is not None:
            return read_private_file(self.file)
        return ask_passphrase(prompt, confirm=confirm)


def open_knowledge_base(name: str, source: KeySource, *, passphrase: str | None = None) -> KnowledgeBase:
    """Open a knowledge base; the passphrase is asked for only where nothing else opens it.

    Args:
        name: A name or a path.
        source: Where the key comes from.
        passphrase: The passphrase of `source`, where it was read before.
    """
    from mitai.knowledge_base import KnowledgeBase

    path = knowledge_base_path(name)
    KnowledgeBase.require(path)
    if source.keychain:
        return KnowledgeBase.open(path, keychain=True)
    if passphrase is None:
        passphrase = source.passphrase(f"Passphrase of {path.name}")
    return KnowledgeBase.open(path, passphrase=passphrase)


def open_enclave(
    url: str, policy: Path, *, token_fd: int | None, token_file: Path | None, padding: Padding = PADDED
) -> EnclaveClient:
    """Make the client of an enclave; nothing is sent yet."""
    from mitai.enclave import EnclaveClient
    from mitai.policy_file import load_policy

    token = read_token(token_fd=token_fd, token_file=token_file)
    return EnclaveClient(url, policy=load_policy(policy), token=token, padding=padding)


def chosen_padding(*, no_padding: bool, cadence: int | None) -> Padding:
    """Return what the sizes on the wire may show.

    Raises:
        PaddingError: A cadence without padding.
    """
    return Padding(cadence=cadence, padded=not no_padding)


def read_token(*, token_fd: int | None, token_file: Path | None) -> str:
    """Read the enclave's access token.

    Raises:
        SecretUnavailable: There is none to be had.
    """
    if token_fd is not None:
        return read_descriptor(token_fd)
    if token_file is not None:
        return read_private_file(token_file)
    raise SecretUnavailable(
        "an API token is needed",
        hint="Give it by --token-file FILE (mode 0600) or --token-fd N; MITAI_TOKEN_FILE works too.",
    )
