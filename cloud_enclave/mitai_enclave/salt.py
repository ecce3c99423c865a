"""The prefix cache's salt: made inside, different for each principal, at most narrowed by the client."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Final

from mitai_crypto.labels import CACHE_SALT_LABEL

SECRET_BYTES: Final = 32


class CacheSalt:
    """Salts of one start of the enclave (`docs/spec/http.md` §6).

    Args:
        secret: At least 32 bytes that never leave this process; fresh where not given.
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
        if len(self._secret) < SECRET_BYTES:
            raise ValueError("the boot secret is too short")

    def __repr__(self) -> str:
        return "CacheSalt(secret=<redacted>)"

    def derive(self, principal: str, client_salt: bytes) -> str:
        """Return the engine's salt: 43 characters of base64url.

        Args:
            principal: Whose request it is.
            client_salt: The client's own salt, empty where it sent none.
        """
        parts = (CACHE_SALT_LABEL, principal.encode(), client_salt)
        message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        digest = hmac.new(self._secret, message, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
