"""Answers in the clear: constants, each the same bytes whatever the request held (`docs/spec/http.md` §3)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mitai_crypto.labels import PROBLEM_OHTTP_KEY
from mitai_enclave.asgi import respond
from mitai_enclave.errors import EnclaveError

if TYPE_CHECKING:
    from mitai_enclave.asgi import Send

_NO_STORE: Final = (b"cache-control", b"no-store")
_RETRY: Final = (b"retry-after", b"1")
# What was not read of a body that is refused must not be taken for the next request.
_CLOSE: Final = (b"connection", b"close")
_SEALED_ONLY: Final = "Requests must be sealed: an encrypted channel is required."


@dataclass(frozen=True, slots=True)
class Problem:
    """One constant answer (RFC 9457).

    Attributes:
        status: Status code.
        title: Its title for people.
        kind: Problem type.
        headers: Fields of its own.
    """

    status: int
    title: str
    kind: str = "about:blank"
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())

    async def send(self, send: Send) -> None:
        """Send it as the whole answer."""
        body = json.dumps({"type": self.kind, "title": self.title}, separators=(",", ":")).encode()
        fields = ((b"content-type", b"application/problem+json"), _NO_STORE, *self.headers)
        await respond(send, self.status, fields, body)


class PublicRefusal(EnclaveError):
    """A request is refused before anything was opened.

    Attributes:
        problem: The constant answer.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


UNOPENED: Final = Problem(400, "This key is not known here or the message does not open.", PROBLEM_OHTTP_KEY)
"""The one answer to every message that does not open, whatever the reason."""

BAD_NONCE: Final = Problem(400, "Give one nonce of 32 bytes in base64url without padding.")
NOT_FOUND: Final = Problem(404, _SEALED_ONLY, headers=(_CLOSE,))
GET_ONLY: Final = Problem(405, _SEALED_ONLY, headers=((b"allow", b"GET"), _CLOSE))
GET_OR_POST: Final = Problem(405, _SEALED_ONLY, headers=((b"allow", b"GET, POST"), _CLOSE))
POST_ONLY: Final = Problem(405, _SEALED_ONLY, headers=((b"allow", b"POST"), _CLOSE))
TOO_SLOW: Final = Problem(408, "The request did not arrive in time.", headers=(_CLOSE,))
TOO_LARGE: Final = Problem(413, "The sealed request is too large.", headers=(_CLOSE,))
NOT_SEALED: Final = Problem(415, _SEALED_ONLY, headers=(_CLOSE,))
TOO_MANY_NONCES: Final = Problem(429, "Too many requests for evidence.", headers=(_RETRY,))
BUSY: Final = Problem(503, "Too many requests are being read.", headers=(_RETRY, _CLOSE))
NO_EVIDENCE: Final = Problem(503, "No evidence can be given now.", headers=(_RETRY,))
