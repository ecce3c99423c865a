"""Who may use the endpoint? Checked on header fields alone, before any byte of a body (`docs/spec/serve.md` §1)."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

from mitai.serve.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

HEALTH_PATH: Final = "/healthz"
_BEARER: Final = b"bearer"
_FROM_NO_PAGE: Final = b"none"  # the user typed the address


class Access:
    """The rules of one listener.

    Args:
        hosts: What a `host` field may say; empty where it is not checked (a Unix socket).
        token: What local clients must show; None lets every process in that reaches the listener.
    """

    def __init__(self, *, hosts: frozenset[bytes], token: str | None) -> None:
        self._hosts = hosts
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()

    def check(self, path: str, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Let a request pass, or refuse it.

        Args:
            path: The path, without a query.
            headers: Fields with lower-case names.

        Raises:
            Problem: It is addressed to another name, comes from a browser's page, or shows no valid token.
        """
        self._check_host(headers)
        _check_browser(headers)
        if path != HEALTH_PATH:
            self._check_token(headers)

    def _check_host(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        named = _values(headers, b"host")
        if self._hosts and (len(named) != 1 or named[0].lower() not in self._hosts):
            raise Problem(
                421, "wrong_host", "This endpoint answers on its loopback address only.", hint="Use the URL it shows."
            )

    def _check_token(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        if self._token is None:
            return
        shown = _values(headers, b"authorization")
        scheme, _, token = shown[0].partition(b" ") if len(shown) == 1 else (b"", b"", b"")
        digest = hashlib.sha256(token.strip()).digest()
        if not hmac.compare_digest(digest, self._token) or scheme.lower() != _BEARER:
            raise Problem(
                401,
                "invalid_api_key",
                "The local token is missing or wrong.",
                hint="Give the token that `mitai serve` showed, or keeps in its --local-token-file, as the API key.",
                headers={"www-authenticate": "Bearer"},
            )


def _check_browser(headers: Sequence[tuple[bytes, bytes]]) -> None:
    if _values(headers, b"origin") or any(site != _FROM_NO_PAGE for site in _values(headers, b"sec-fetch-site")):
        raise Problem(403, "browser_refused", "Web pages may not use this endpoint.")


def _values(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [value.strip() for key, value in headers if key == name]
