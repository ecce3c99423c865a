"""Requests in RFC 9458's own format made by hand, for tests of the enclave."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitai_crypto import bhttp
from mitai_crypto.labels import MEDIA_TYPE_PLAIN_REQUEST, MEDIA_TYPE_PLAIN_RESPONSE, RECEIPT_TRAILER
from mitai_crypto.ohttp import KeyConfig, PlainResponseOpener, SealedPlainRequest, seal_plain_request
from mitai_crypto.receipt import RequestDigest, ResponseDigest, exchange_digest, verify_receipt
from support.sealed_client import Opened, inner_request

if TYPE_CHECKING:
    import httpx

    from support.sidecar import Sidecar


@dataclass
class SealedPlain:
    """A request sealed in one piece and what it holds."""

    request: bhttp.Request
    sealed: SealedPlainRequest
    config: KeyConfig

    @property
    def message(self) -> bytes:
        return self.sealed.message

    def opener(self) -> PlainResponseOpener:
        """A fresh opener each time: a replayed request has several answers."""
        context = self.sealed.opener._context
        assert context is not None, "the request's own opener must stay unused"
        return PlainResponseOpener(context, self.sealed.enc)


def seal_plain(config: KeyConfig, request: bhttp.Request | None = None, *, padding: int = 0) -> SealedPlain:
    request = request or inner_request()
    return SealedPlain(request, seal_plain_request(config, bhttp.encode_request(request, padding=padding)), config)


async def post_plain(client: httpx.AsyncClient, message: bytes, path: str = "/mitai/ohttp") -> httpx.Response:
    return await client.post(path, content=message, headers={"content-type": MEDIA_TYPE_PLAIN_REQUEST})


def open_plain_answer(sidecar: Sidecar, sealed: SealedPlain, response: httpx.Response) -> Opened:
    """Open an answer in one piece and verify its receipt, as a device would."""
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPE_PLAIN_RESPONSE
    assert response.headers["cache-control"] == "no-store"
    assert "incremental" not in response.headers
    opener = sealed.opener()
    answer = bhttp.decode_response(opener.open(response.content))
    inner = sealed.request
    asked = RequestDigest(inner.method, inner.scheme, inner.authority, inner.path, inner.headers)
    asked.update(inner.content)
    answered = ResponseDigest(answer.status, answer.headers)
    answered.update(answer.content)
    (value,) = (value for name, value in answer.trailers if name == RECEIPT_TRAILER)
    found = sidecar.epochs.find(sealed.config.key_id)
    assert found is not None
    identity = sidecar.identity
    receipt = verify_receipt(
        value,
        receipt_key=identity.receipt_key.public_key().public_bytes_raw(),
        exchange=exchange_digest(sealed.sealed.enc, opener.response_nonce),
        request_digest=asked.digest(),
        response_digest=answered.digest(),
        crypto_material_digest=found[0].material_digest,
        model_digest=identity.model_digest,
        configuration=identity.configuration,
        tee=identity.tee,
    )
    return Opened(answer.status, dict(answer.headers), answer.content, receipt)


async def ask_plain(sidecar: Sidecar, request: bhttp.Request | None = None, path: str = "/mitai/ohttp") -> Opened:
    """Seal, send and open."""
    sealed = seal_plain(sidecar.config, request)
    return open_plain_answer(sidecar, sealed, await post_plain(sidecar.client, sealed.message, path))
