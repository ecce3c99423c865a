"""Routes, bodies and errors of the endpoint: all in the shape of the OpenAI API."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from mitai import errors
from mitai.serve import guard
from mitai.serve.problems import problem_of
from support.enclave_simulator import refusal
from support.serving import LOCAL_TOKEN, Served

if TYPE_CHECKING:
    from support.enclave_simulator import EnclaveSimulator

BODY = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "年假"}]}
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/chat/completions", 404, "unknown_url"),
        ("POST", "/v1/chat/completions/", 404, "unknown_url"),
        ("POST", "/v1/responses", 404, "unknown_url"),
        ("GET", "/v1/models/x", 404, "unknown_url"),
        ("GET", "/v1/models?a=b", 404, "unknown_url"),
        ("POST", "/v1/chat/completions?a=b", 404, "unknown_url"),
        ("GET", "/metrics", 404, "unknown_url"),
        ("GET", "/", 404, "unknown_url"),
    ],
)
def test_other_routes(
    plain: Served, simulator: EnclaveSimulator, *, method: str, path: str, status: int, code: str
) -> None:
    with plain.http() as client:
        answer = client.request(method, path, json=BODY if method == "POST" else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert simulator.seen == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{}", {"content-type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"content-type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{}", {}, 415, "unsupported_media_type"),
        (b"{}", {**JSON, "content-encoding": "gzip"}, 415, "unsupported_media_type"),
        (b"", JSON, 400, "invalid_json"),
        (b"{", JSON, 400, "invalid_json"),
        (b"\xff\xfe", JSON, 400, "invalid_json"),
        (b"[" * 100_000, JSON, 400, "invalid_json"),
        (b"[]", JSON, 400, "invalid_json"),
        (b"{}", JSON, 400, "invalid_value"),
        (b'{"model":7}', JSON, 400, "invalid_value"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
def test_only_json_with_a_model(
    plain: Served,
    simulator: EnclaveSimulator,
    *,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    with plain.http() as client:
        answer = client.post(path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert simulator.seen == []


def test_threat_20_a_body_over_the_cap_is_refused_before_it_is_read(plain: Served, simulator: EnclaveSimulator) -> None:
    address = urlsplit(plain.url)
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {LOCAL_TOKEN}\r\n"
        f"content-type: application/json\r\ncontent-length: {guard.MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as raw:
        raw.sendall(head.encode())
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]
    assert simulator.seen == []


def test_threat_20_a_body_without_a_length_is_cut_off_at_the_cap(plain: Served, simulator: EnclaveSimulator) -> None:
    piece = b" " * 1_000_000
    with plain.http() as client:
        answer = client.post("/v1/embeddings", content=(piece for _ in range(8)), headers=JSON)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert simulator.seen == []


def test_a_body_that_does_not_arrive(plain: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.2)
    address = urlsplit(plain.url)
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nhost: {address.netloc}\r\nauthorization: Bearer {LOCAL_TOKEN}\r\n"
        "content-type: application/json\r\ncontent-length: 9\r\n\r\n{"
    )
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as raw:
        raw.sendall(head.encode())
        assert b" 408 " in raw.recv(4096).split(b"\r\n")[0]


def test_more_requests_than_are_allowed_at_once(
    plain: Served, simulator: EnclaveSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_REQUESTS", 2)
    simulator.misbehaviour.pause = 0.4

    def post() -> int:
        with plain.http() as client:
            return int(client.post("/v1/chat/completions", json=BODY).status_code)

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(lambda _: post(), range(4)))
    assert statuses[:2] == [200, 200]
    assert statuses[-1] == 503
    simulator.misbehaviour.pause = 0
    assert post() == 200  # a refused request gives its place back


def test_what_should_not_happen_is_an_error_without_words(
    plain: Served, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("CANARY 年假")

    monkeypatch.setattr("mitai.serve.forward.Forwarder.post", broken)
    with plain.http() as client:
        answer = client.post("/v1/chat/completions", json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    shown = capfd.readouterr()
    assert "CANARY" not in answer.text + plain.lines.getvalue() + shown.out + shown.err
    assert plain.log[0] == {**plain.log[0], "event": "failed", "error": "RuntimeError"}


def test_models_of_an_enclave_that_refuses(served: Served, simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: refusal(401, "invalid_api_key")
    with served.http() as client:
        assert client.get("/v1/models").status_code == 401


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MitaiError)],
)
def test_every_error_of_ours_has_a_status_and_a_code(kind: type[errors.MitaiError]) -> None:
    special = {"status": 429} if kind is errors.EnclaveRefused else {}
    if kind is errors.VerificationFailed:
        special = {"report": None}
    problem = problem_of(kind("words", **special))
    assert 400 <= problem.status < 600
    assert problem.code.replace("_", "").isalpha()


def test_concurrent_streams_do_not_mix(plain: Served) -> None:
    async def read(number: int) -> str:
        async with plain.openai_async() as client:
            asked = [{"role": "user", "content": str(number)}]
            stream = await client.chat.completions.create(model=BODY["model"], messages=asked, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_at_once() -> list[str]:
        return await asyncio.gather(*(read(number) for number in range(20)))

    assert set(asyncio.run(all_at_once())) == {"Hello sealed world，密态。"}
