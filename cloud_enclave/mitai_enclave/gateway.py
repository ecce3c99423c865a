"""The public face: which path is what, health, and evidence (`docs/spec/http.md` §1 and §2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from mitai_crypto.labels import (
    ATTESTATION_PATH,
    FOREIGN_GATEWAY_PATH,
    GATEWAY_PATH,
    HEALTH_PATH,
    MEDIA_TYPE_KEYS,
    NONCE_BYTES,
)
from mitai_crypto.ohttp import encode_key_list
from mitai_enclave import problems
from mitai_enclave.asgi import respond
from mitai_enclave.inner import decode_base64url
from mitai_enclave.metrics import Outcome
from mitai_enclave.problems import PublicRefusal
from mitai_enclave.routes import RouteClass

if TYPE_CHECKING:
    from mitai_enclave.asgi import Receive, Scope, Send
    from mitai_enclave.metrics import Metrics
    from mitai_enclave.replica import Recorder, Replica
    from mitai_enclave.unseal import Unsealer

_GATEWAY: Final = re.compile(rf"{re.escape(GATEWAY_PATH)}(?:/([0-9a-f]{{64}}))?")
_NONCE: Final = b"nonce="
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_KEYS: Final = ((b"content-type", MEDIA_TYPE_KEYS.encode()), (b"cache-control", b"no-store"))


class Gateway:
    """The ASGI application of the gateway listener.

    Args:
        unsealer: Serves sealed requests.
        replica: Answers for evidence and health.
        metrics: Counts how requests end.
    """

    def __init__(self, *, unsealer: Unsealer, replica: Replica, metrics: Recorder) -> None:
        self._unsealer = unsealer
        self._replica = replica
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        gateway = _GATEWAY.fullmatch(scope["path"])
        if gateway or (scope["path"], scope["method"]) == (FOREIGN_GATEWAY_PATH, "POST"):
            await self._unsealer.serve(scope, receive, send, gateway[1] if gateway else None)
            return
        try:
            await self._serve_public(scope, send)
        except PublicRefusal as refusal:
            evidence = scope["path"] == ATTESTATION_PATH
            self._metrics.count(Outcome.REJECTED, RouteClass.ATTESTATION if evidence else RouteClass.OTHER)
            await refusal.problem.send(send)

    async def _serve_public(self, scope: Scope, send: Send) -> None:
        if scope["path"] not in {HEALTH_PATH, ATTESTATION_PATH, FOREIGN_GATEWAY_PATH}:
            raise PublicRefusal(problems.NOT_FOUND)
        if scope["method"] != "GET":
            foreign = scope["path"] == FOREIGN_GATEWAY_PATH
            raise PublicRefusal(problems.GET_OR_POST if foreign else problems.GET_ONLY)
        if scope["path"] == FOREIGN_GATEWAY_PATH:
            await self._replica.prepare()
            await respond(send, 200, _KEYS, encode_key_list(self._replica.current()))
            return
        if scope["path"] == HEALTH_PATH:
            healthy = await self._replica.is_healthy()
            body = b'{"status":"ok"}' if healthy else b'{"status":"unavailable"}'
            await respond(send, 200 if healthy else 503, _JSON, body)
            return
        bundle = await self._attest(scope["query_string"])
        self._metrics.count(Outcome.OK, RouteClass.ATTESTATION)
        await respond(send, 200, _JSON, bundle)

    async def _attest(self, query: bytes) -> bytes:
        nonce = decode_base64url(query.removeprefix(_NONCE), NONCE_BYTES)
        if nonce is None or not query.startswith(_NONCE):
            raise PublicRefusal(problems.BAD_NONCE)
        return await self._replica.attest(nonce)


class MetricsPage:
    """The ASGI application of the metrics listener.

    Args:
        metrics: What it shows.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Serve one scrape."""
        if scope["path"] != "/metrics" or scope["method"] != "GET":
            await respond(send, 404, ((b"content-type", b"text/plain"),), b"Only GET /metrics is served here.\n")
            return
        kind = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        await respond(send, 200, (kind, (b"cache-control", b"no-store")), self._metrics.text)
