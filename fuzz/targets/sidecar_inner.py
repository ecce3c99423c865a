"""Opened requests, all the way through the sidecar's checks."""

from __future__ import annotations

import hashlib
import secrets

from target import Target

from mitai_crypto.bhttp import encode_request
from mitai_enclave.errors import RequestRefused
from mitai_enclave.inner import Rules, check_request, decode_inner
from mitai_enclave.salt import SECRET_BYTES, CacheSalt
from mitai_enclave.tokens import Token, TokenTable
from support.sealed_client import TOKEN, chat_body, inner_request

NOW = 1_767_600_000
DATE = "Mon, 05 Jan 2026 08:00:00 GMT"
RULES = Rules(
    tokens=TokenTable((Token("alice", hashlib.sha256(TOKEN.encode()).digest()),)),
    salt=CacheSalt(secrets.token_bytes(SECRET_BYTES)),
    model="simulated",
    max_bytes=1 << 20,
)


def read(data: bytes) -> None:
    """Check a request; one that passes is Alice's."""
    assert check_request(decode_inner(data), RULES, NOW).principal == "alice"


def seeds() -> list[bytes]:
    """Return requests that pass, and some that do not."""
    good = [inner_request(date=DATE), inner_request(chat_body("密态", stream=True), date=DATE)]
    bad = [inner_request(date=DATE, path="/v1/models"), inner_request(date=DATE, token=None)]
    return [encode_request(request) for request in good + bad]


TARGET = Target(read, RequestRefused, seeds, factor=200)
