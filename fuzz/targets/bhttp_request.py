"""Binary HTTP requests, as the enclave reads them once they are open."""

from __future__ import annotations

from target import Target, failures, published

from mitai_crypto.bhttp import decode_request, encode_request
from mitai_crypto.errors import BhttpError


def read(data: bytes) -> None:
    """Read a request; what was accepted comes back the same."""
    request = decode_request(data)
    assert decode_request(encode_request(request)) == request


def seeds() -> list[bytes]:
    """Return published requests and refused ones."""
    fields = ("request_known_length", "request_indeterminate_length")
    return published("rfc9292", *fields) + failures("bhttp_request")


TARGET = Target(read, BhttpError, seeds, factor=150)
