"""Who may use the endpoint: host, browsers, token – each refusal before anything goes to the enclave."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import openai
import pytest

from mitai.serve import access
from mitai.serve.access import Access
from mitai.serve.problems import Problem
from support.serving import ENCLAVE_TOKEN, LOCAL_TOKEN, Served, serving

if TYPE_CHECKING:
    from support.enclave_simulator import EnclaveSimulator

BODY = {"model": "SmolLM2-135M-Instruct", "messages": [{"role": "user", "content": "年假"}]}
GOOD = f"Bearer {LOCAL_TOKEN}"


def refused(served: Served, simulator: EnclaveSimulator, headers: list[tuple[str, str]]) -> tuple[int, str]:
    with served.http() as client:
        del client.headers["authorization"]
        answer = client.post("/v1/chat/completions", json=BODY, headers=headers)
    assert simulator.seen == []
    assert "access-control-allow-origin" not in answer.headers
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "hint"}
    return answer.status_code, error["code"]


@pytest.mark.parametrize(
    "shown",
    [None, "", "Bearer", "Bearer wrong", f"Basic {LOCAL_TOKEN}", LOCAL_TOKEN, f"Bearer {ENCLAVE_TOKEN}",
     f"Bearer {LOCAL_TOKEN} {LOCAL_TOKEN}"],
)  # fmt: skip
def test_a_wrong_local_token(plain: Served, simulator: EnclaveSimulator, shown: str | None) -> None:
    headers = [] if shown is None else [("authorization", shown)]
    assert refused(plain, simulator, headers) == (401, "invalid_api_key")


def test_two_tokens_are_none(plain: Served, simulator: EnclaveSimulator) -> None:
    assert refused(plain, simulator, [("authorization", GOOD), ("authorization", GOOD)])[0] == 401


def test_the_official_client_sees_an_authentication_error(plain: Served) -> None:
    with plain.openai(api_key="sk-another") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.models.list()
    assert caught.value.code == "invalid_api_key"
    assert "local-token-file" in caught.value.body["hint"]


def test_the_comparison_takes_the_same_time_for_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of equal length are compared, by the function that is made for it."""
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    monkeypatch.setattr(access.hmac, "compare_digest", watched)
    rules = Access(hosts=frozenset(), token=LOCAL_TOKEN)
    rules.check("/v1/models", [(b"authorization", GOOD.encode())])
    with pytest.raises(Problem):
        rules.check("/v1/models", [(b"authorization", b"Bearer x")])
    assert [(len(one), len(other)) for one, other in compared] == [(32, 32)] * 2


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_a_name_that_was_rebound_to_loopback(plain: Served, simulator: EnclaveSimulator, host: str) -> None:
    named = host.format(port=urlsplit(plain.url).port)
    assert refused(plain, simulator, [("authorization", GOOD), ("host", named)]) == (421, "wrong_host")


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "LocalHost:{port}", "[::1]:{port}"])
def test_the_names_of_loopback(plain: Served, host: str) -> None:
    with plain.http() as client:
        assert client.get("/healthz", headers={"host": host.format(port=urlsplit(plain.url).port)}).status_code == 200


@pytest.mark.parametrize(
    "field",
    [("origin", "https://evil.example"), ("origin", "null"), ("origin", "http://127.0.0.1:8484"),
     ("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin")],
)  # fmt: skip
def test_a_web_page(plain: Served, simulator: EnclaveSimulator, field: tuple[str, str]) -> None:
    assert refused(plain, simulator, [("authorization", GOOD), field]) == (403, "browser_refused")


def test_a_preflight_is_refused_without_cors_fields(plain: Served) -> None:
    with plain.http() as client:
        answer = client.options("/v1/chat/completions", headers={"origin": "https://evil.example"})
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_is_refused_also_without_a_token(simulator: EnclaveSimulator) -> None:
    with serving(simulator.url, simulator.policy(), token=None) as served, served.http() as client:
        del client.headers["authorization"]
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"origin": "null"}).status_code == 403
        assert client.get("/v1/models", headers={"host": "evil.example"}).status_code == 421


def test_health_needs_no_token_and_asks_nobody(plain: Served, simulator: EnclaveSimulator) -> None:
    with plain.http() as client:
        del client.headers["authorization"]
        assert client.get("/healthz").json() == {"status": "ok", "tee": "unverified"}
        assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 421
    assert simulator.seen == []
