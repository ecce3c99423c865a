"""Who may ask? Principals by the SHA-256 of their token, from a TOML file of the owner of the service.

[[token]]
principal = "alice"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
"""

from __future__ import annotations

import hashlib
import hmac
import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_enclave.errors import ConfigurationError, RequestRefused

if TYPE_CHECKING:
    from pathlib import Path

_PRINCIPAL: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MAX_FILE = 1024 * 1024
_MAX_TOKEN = 4096
_HINT: Final = 'Each entry: [[token]] principal = "alice" and sha256 = "<64 hex digits: SHA-256 of the token>".'


@dataclass(frozen=True, slots=True)
class Token:
    """One accepted token.

    Attributes:
        principal: The name of the sharing domain (one principal may have several tokens).
        sha256: SHA-256 of the token, 32 bytes.
    """

    principal: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Every accepted token, sorted by principal and hash."""

    tokens: tuple[Token, ...]

    def principal_of(self, presented: bytes) -> str:
        """Return whose token `presented` is; looks at every entry, whatever matches.

        Raises:
            RequestRefused: 401, nobody's.
        """
        digest = hashlib.sha256(presented).digest()
        found = ""
        for token in self.tokens:
            if hmac.compare_digest(token.sha256, digest):
                found = token.principal
        if not found or len(presented) > _MAX_TOKEN:
            raise RequestRefused(401, "invalid_api_key", "The API token is not known here.")
        return found

    def describe(self) -> list[dict[str, str]]:
        """Return the table as it enters the configuration digest."""
        return [{"principal": token.principal, "sha256": token.sha256.hex()} for token in self.tokens]


def parse_tokens(data: bytes) -> TokenTable:
    """Parse a token file.

    Raises:
        ConfigurationError: It is no TOML of exactly the shape above, is empty, or names one hash twice.
    """
    try:
        document = tomllib.loads(data.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError("The token file is not valid TOML.", hint=_HINT) from error
    entries = document.get("token")
    if set(document) != {"token"} or not isinstance(entries, list) or not entries:
        raise ConfigurationError(
            "The token file must hold [[token]] entries, at least one, and nothing else.", hint=_HINT
        )
    tokens = sorted((_parse_entry(entry) for entry in entries), key=lambda token: (token.principal, token.sha256))
    if len({token.sha256 for token in tokens}) != len(tokens):
        raise ConfigurationError("The token file names one hash twice.", hint="Give each principal its own token.")
    return TokenTable(tuple(tokens))


def _parse_entry(entry: object) -> Token:
    if not isinstance(entry, dict) or set(entry) != {"principal", "sha256"}:
        raise ConfigurationError("A [[token]] entry must hold principal and sha256 and nothing else.", hint=_HINT)
    principal, digest = entry["principal"], entry["sha256"]
    if not isinstance(principal, str) or not _PRINCIPAL.fullmatch(principal):
        raise ConfigurationError("A principal is 1 to 64 of A-Z a-z 0-9 . _ @ -", hint=_HINT)
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise ConfigurationError(f"The sha256 of principal {principal} is not 64 lower-case hex digits.", hint=_HINT)
    return Token(principal, bytes.fromhex(digest))


def load_tokens(path: Path) -> TokenTable:
    """Read and parse the token file at `path`.

    Raises:
        ConfigurationError: It cannot be read, is too large or malformed.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"The token file cannot be read: {error.strerror}.", hint=_HINT) from error
    if len(data) > _MAX_FILE:
        raise ConfigurationError("The token file is larger than 1 MiB.", hint=_HINT)
    return parse_tokens(data)
