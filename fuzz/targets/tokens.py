"""Token files."""

from __future__ import annotations

from target import Target

from mitai_enclave.errors import ConfigurationError
from mitai_enclave.tokens import parse_tokens


def read(data: bytes) -> None:
    """Read a token file; every hash belongs to one principal."""
    table = parse_tokens(data)
    assert len({token.sha256 for token in table.tokens}) == len(table.tokens)
    assert all(token.principal for token in table.tokens)


def seeds() -> list[bytes]:
    """Return files with one token, with two, and a wrong one."""
    one = '[[token]]\nprincipal = "alice"\nsha256 = "' + "0a" * 32 + '"\n'
    two = one + '\n[[token]]\nprincipal = "bob@x"\nsha256 = "' + "0b" * 32 + '"\n'
    return [one.encode(), two.encode(), one.replace("alice", "張三").encode()]


TARGET = Target(read, ConfigurationError, seeds, factor=600, max_bytes=8192)
