"""Sealed requests made by hand, byte for byte, for tests of the enclave."""

from __future__ import annotations

import base64
import json
import os
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from mitai_crypto import bhttp
from mitai_crypto.labels import AUTHORITY, MEDIA_TYPE_REQUEST, MEDIA_TYPE_RESPONSE, RECEIPT_TRAILER
from mitai_crypto.ohttp import KeyConfig, ResponseOpener, SealedRequest, seal_request
from mitai_crypto.receipt import (
    Receipt,
    RequestDigest,
    ResponseDigest,
    exchange_digest,
    verify_receipt,
)

if TYPE_CHECKING:
    import httpx

    from mitai_enclave.attestation import Identity

TOKEN = "token-of-alice"
OTHER_TOKEN = "token-of-bob"
CHAT = "/v1/chat/completions"


def base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def chat_body(content: object = "How long is it kept?", **fields: object) -> bytes:
    document = {"model": "simulated", "messages": [{"role": "user", "content": content}], **fields}
    return json.dumps(document, ensure_ascii=False).encode()


def inner_request(
    body: bytes | None = None,
    *,
    method: str = "POST",
    path: str = CHAT,
    token: str | None = TOKEN,
    date: str | None = "",
    request_id: bytes | None = b"",
    authority: bytes = AUTHORITY,
    content_type: str | None = "application/json",
    extra: tuple[tuple[bytes, bytes], ...] = (),
) -> bhttp.Request:
    """Make an inner request; an empty `date` or `request_id` stands for a good one."""
    headers: list[tuple[bytes, bytes]] = []
    if token is not None:
        headers.append((b"authorization", f"Bearer {token}".encode()))
    if content_type is not None:
        headers.append((b"content-type", content_type.encode()))
    if date is not None:
        headers.append((b"date", (date or formatdate(time.time(), usegmt=True)).encode()))
    if request_id is not None:
        headers.append((b"mitai-request-id", request_id or base64url(os.urandom(16))))
    headers.append((b"mitai-blind", base64url(os.urandom(32))))
    content = (chat_body() if body is None else body) if method == "POST" else b""
    return bhttp.Request(method.encode(), b"https", authority, path.encode(), (*headers, *extra), content)


@dataclass
class Sealed:
    """A sealed request and what it holds."""

    request: bhttp.Request
    sealed: SealedRequest
    config: KeyConfig

    @property
    def message(self) -> bytes:
        return self.sealed.message

    def opener(self) -> ResponseOpener:
        """A fresh opener each time: a replayed request has several answers."""
        context = self.sealed.opener._context
        assert context is not None, "the request's own opener must stay unused"
        return ResponseOpener(context, self.sealed.enc)


def seal(config: KeyConfig, request: bhttp.Request | None = None) -> Sealed:
    request = request or inner_request()
    return Sealed(request, seal_request(config, bhttp.encode_request(request)), config)


@dataclass
class Opened:
    """An opened answer."""

    status: int
    headers: dict[bytes, bytes]
    content: bytes
    receipt: Receipt

    @property
    def code(self) -> object:
        return json.loads(self.content)["error"]["code"]

    @property
    def param(self) -> object:
        return json.loads(self.content)["error"]["param"]


def open_answer(
    sealed: Sealed,
    outer: bytes,
    identity: Identity,
    material_digest: bytes,
    *,
    request_digest: bytes | None = None,
) -> Opened:
    """Open a sealed answer and verify its receipt, as a device does."""
    opener = sealed.opener()
    plaintext = opener.feed(outer) + opener.close()
    response = bhttp.decode_response(plaintext)
    inner = sealed.request
    asked = RequestDigest(inner.method, inner.scheme, inner.authority, inner.path, inner.headers)
    asked.update(inner.content)
    answered = ResponseDigest(response.status, response.headers)
    answered.update(response.content)
    (value,) = (value for name, value in response.trailers if name == RECEIPT_TRAILER)
    receipt = verify_receipt(
        value,
        receipt_key=identity.receipt_key.public_key().public_bytes_raw(),
        exchange=exchange_digest(sealed.sealed.enc, opener.response_nonce),
        request_digest=request_digest or asked.digest(),
        response_digest=answered.digest(),
        crypto_material_digest=material_digest,
        model_digest=identity.model_digest,
        configuration=identity.configuration,
        tee=identity.tee,
    )
    return Opened(response.status, dict(response.headers), response.content, receipt)


async def post(client: httpx.AsyncClient, message: bytes, path: str = "/mitai/ohttp") -> httpx.Response:
    return await client.post(path, content=message, headers={"content-type": MEDIA_TYPE_REQUEST})


def assert_sealed(response: httpx.Response) -> None:
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPE_RESPONSE
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["incremental"] == "?1"
