"""`sealed_client`: the recipe works, and mistakes with addresses and keys show early or do no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import openai
import pytest

import mitai
from mitai.errors import EnclaveUnreachable, IncompleteAnswer, SecretUnavailable
from mitai.transport.clients import CONNECT_SECONDS, SILENCE_SECONDS
from support.canary import find
from support.enclave_simulator import EnclaveSimulator, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from mitai.disclosure import Outgoing

MODEL = "SmolLM2-135M-Instruct"
MESSAGES = [{"role": "user", "content": "請問 CANARY-41 年假"}]
TEXT = "Hello sealed world，密态。"


def chat(client: openai.OpenAI, **options: object) -> str:
    return str(client.chat.completions.create(model=MODEL, messages=MESSAGES, **options).choices[0].message.content)


def test_the_recipe(simulator: EnclaveSimulator) -> None:
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        client = openai.OpenAI(http_client=http_client, api_key="unused")
        assert chat(client) == TEXT
        stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        assert "".join(event.choices[0].delta.content or "" for event in stream) == TEXT
    assert [dict(request.headers)[b"authorization"] for request in simulator.executed] == [b"Bearer t0ken"] * 2


async def test_the_asynchronous_recipe(simulator: EnclaveSimulator) -> None:
    async with mitai.async_sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        client = openai.AsyncOpenAI(http_client=http_client, api_key="unused")
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        assert answer.choices[0].message.content == TEXT


def test_the_client_alone_has_an_address(simulator: EnclaveSimulator) -> None:
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as client:
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL


def test_what_the_environment_says_for_other_services_changes_nothing(
    simulator: EnclaveSimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine mitai.invalid login CANARY-LOGIN password CANARY-NETRC\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-CANARY-KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.canary.example/v1")
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        assert not http_client.trust_env
        assert chat(openai.OpenAI(http_client=http_client)) == TEXT
        assert http_client.get("/v1/models").status_code == 200
    inner = repr(simulator.executed).encode()
    assert find(["CANARY-KEY", "CANARY-NETRC", "CANARY-LOGIN", "canary.example"], inner) == []
    assert find(["CANARY-41", "t0ken"], repr(simulator.seen).encode()) == []


@pytest.mark.parametrize("base_url", ["https://mitai.invalid", "https://enclave.example/api", "{url}"])
def test_a_base_url_without_v1_is_told_before_anything_is_sent(simulator: EnclaveSimulator, base_url: str) -> None:
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        client = openai.OpenAI(http_client=http_client, api_key="unused", base_url=base_url.format(url=simulator.url))
        with pytest.raises(EnclaveUnreachable, match="/v1/") as caught:
            chat(client)
    assert "base_url" in caught.value.hint
    assert simulator.seen == []


async def test_the_same_asynchronously(simulator: EnclaveSimulator) -> None:
    async with mitai.async_sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        with pytest.raises(EnclaveUnreachable, match="/v1/"):
            await http_client.post("/chat/completions", json={})
    assert simulator.seen == []


@pytest.mark.parametrize("base_url", [None, "https://api.openai.com/v1", "http://127.0.0.1:9/v1"])
def test_the_host_of_base_url_routes_nothing(simulator: EnclaveSimulator, base_url: str | None) -> None:
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        assert chat(openai.OpenAI(http_client=http_client, api_key="unused", base_url=base_url)) == TEXT


@pytest.mark.parametrize("make", [mitai.sealed_client, mitai.async_sealed_client])
@pytest.mark.parametrize("token", ["", "  "])
def test_an_empty_token_is_told_at_once(simulator: EnclaveSimulator, make: type, token: str) -> None:
    with pytest.raises(SecretUnavailable, match="empty"):
        make(simulator.url, policy=simulator.policy(), token=token)


def test_long_silence_is_allowed_and_the_official_client_takes_it_over(simulator: EnclaveSimulator) -> None:
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        client = openai.OpenAI(http_client=http_client, api_key="unused")
        for timeout in (http_client.timeout, client.timeout):
            assert (timeout.read, timeout.connect) == (SILENCE_SECONDS, CONNECT_SECONDS)  # type: ignore[union-attr] # a Timeout
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken", timeout=7) as http_client:
        assert http_client.timeout.read == 7


def test_an_inner_redirect_is_not_followed(simulator: EnclaveSimulator) -> None:
    simulator.answer = lambda _: Reply(status=302, headers=((b"location", b"https://evil.example/v1/x"),))
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as client:
        assert client.get("/v1/models").status_code == 302
    assert len(simulator.executed) == 1


def test_threat_41_the_official_clients_resending_runs_nothing_twice(simulator: EnclaveSimulator) -> None:
    simulator.misbehaviour.frames = lambda frames: frames[:3]
    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t0ken") as http_client:
        client = openai.OpenAI(http_client=http_client, api_key="unused", max_retries=5)
        with pytest.raises(IncompleteAnswer):
            chat(client)
    assert len(simulator.executed) == 1


def test_a_hook_is_shown_everything_first_and_may_be_a_coroutine(simulator: EnclaveSimulator) -> None:
    shown: list[tuple[int, str]] = []

    def keep(outgoing: Outgoing) -> None:
        shown.append((len(simulator.executed), outgoing.text))

    with mitai.sealed_client(simulator.url, policy=simulator.policy(), token="t", before_send=keep) as http_client:
        chat(openai.OpenAI(http_client=http_client, api_key="unused"))
    assert shown[0][0] == 0
    assert "年假" in shown[0][1]


async def test_a_coroutine_hook_keeps_the_request_here_until_it_returns(simulator: EnclaveSimulator) -> None:
    from mitai.transport._httpx2 import AsyncSealedTransport, httpx2

    seen: list[int] = []

    async def keep(outgoing: Outgoing) -> None:
        await asyncio.sleep(0.2)
        seen.append(simulator.count("/mitai/ohttp"))

    transport = AsyncSealedTransport(simulator.url, policy=simulator.policy(), token="t")
    transport._sender._before_send = keep
    async with httpx2.AsyncClient(transport=transport, base_url="https://mitai.invalid") as client:
        assert (await client.get("/v1/models")).status_code == 200
    assert (seen, simulator.count("/mitai/ohttp")) == ([0], 1)
