from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from mitai_crypto.crypto_material import parse_crypto_material
from mitai_crypto.errors import TeeUnavailable
from mitai_crypto.evidence import parse_bundle, report_data
from mitai_crypto.labels import ATTESTATION_PATH, FOREIGN_GATEWAY_PATH
from mitai_enclave.config import Limits
from mitai_enclave.gateway import MetricsPage
from mitai_enclave.metrics import Metrics
from support.sealed_client import base64url
from support.sidecar import running_sidecar

if TYPE_CHECKING:
    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator

NONCE = bytes(range(32))


async def attest(sidecar: Sidecar, nonce: bytes = NONCE) -> httpx.Response:
    return await sidecar.client.get(f"{ATTESTATION_PATH}?nonce={base64url(nonce).decode()}")


async def test_evidence_binds_the_nonce_and_the_keys(sidecar: Sidecar) -> None:
    response = await attest(sidecar)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    bundle = parse_bundle(response.content)
    assert bundle.evidence == report_data(NONCE, bundle.crypto_material, b"")
    material = parse_crypto_material(bundle.crypto_material)
    assert material.mode == "simulated"
    assert (material.engine, material.model_name, material.model_digest) == ("external", "simulated", None)
    assert material.keys[0].config == sidecar.config.encode()
    assert len(material.keys) == 4
    assert material.receipt_key == sidecar.identity.receipt_key.public_key().public_bytes_raw()


async def test_threat_30_everybody_sees_the_same_material(sidecar: Sidecar) -> None:
    bundles = await asyncio.gather(*(attest(sidecar, bytes([n]) * 32) for n in range(8)))
    assert len({parse_bundle(bundle.content).crypto_material for bundle in bundles}) == 1
    assert len({parse_bundle(bundle.content).evidence for bundle in bundles}) == 8


@pytest.mark.parametrize(
    "query",
    [
        "", "?", "?nonce", "?nonce=", "?nonce=AAAA", f"?nonce={'A' * 44}", f"?nonce={'A' * 42}B", f"?nonce={'A' * 43}=",
        f"?nonce={'+' * 43}", f"?x=1&nonce={'A' * 43}", f"?nonce={'A' * 43}&nonce={'A' * 43}", f"?Nonce={'A' * 43}",
        f"?nonce={'A' * 43}&", f"?nonce=%41{'A' * 42}",
    ],
)  # fmt: skip
async def test_a_nonce_of_another_form_is_refused(sidecar: Sidecar, query: str) -> None:
    response = await sidecar.client.get(ATTESTATION_PATH + query)
    assert response.status_code == 400
    assert response.headers["cache-control"] == "no-store"


async def test_requests_for_evidence_are_limited(engine: UpstreamSimulator) -> None:
    async with running_sidecar(engine, Limits(attestations_per_second=1, attestations_burst=3)) as sidecar:
        statuses = [(await attest(sidecar)).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


async def test_without_a_healthy_engine_there_is_no_evidence(sidecar: Sidecar) -> None:
    assert (await sidecar.client.get("/healthz")).status_code == 200
    sidecar.watching.cancel()
    await sidecar.engine.stop()
    assert (await sidecar.client.get("/healthz")).status_code == 503
    assert (await attest(sidecar)).status_code == 503


async def test_without_a_quote_there_is_no_evidence(sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise TeeUnavailable("gone")

    monkeypatch.setattr("support.sidecar.RecordedAttester.quote", fail)
    response = await attest(sidecar)
    assert response.status_code == 503
    assert "gone" not in response.text


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/metrics",
        "/v1/models",
        "/mitai/ohttp/",
        "/mitai/ohttp/abc",
        "/docs",
        "/mitai",
        "/.well-known/ohttp-gateway/",
    ],
)
async def test_other_paths_do_not_exist(sidecar: Sidecar, path: str) -> None:
    response = await sidecar.client.get(path)
    assert response.status_code == 404
    assert "server" not in response.headers
    assert "date" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/healthz", "GET"),
        ("HEAD", ATTESTATION_PATH, "GET"),
        ("PUT", "/mitai/ohttp", "POST"),
        ("PUT", FOREIGN_GATEWAY_PATH, "GET, POST"),
        ("HEAD", FOREIGN_GATEWAY_PATH, "GET, POST"),
    ],
)
async def test_other_methods_are_refused(sidecar: Sidecar, method: str, path: str, allow: str) -> None:
    response = await sidecar.client.request(method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allow


async def test_the_metrics_page_is_the_snapshot_and_nothing_else() -> None:
    metrics = Metrics()
    transport = httpx.ASGITransport(MetricsPage(metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as client:
        page = await client.get("/metrics")
        assert page.content == metrics.text
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 404
