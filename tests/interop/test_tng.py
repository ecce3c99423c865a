"""TNG (`tng-sdk` 2.12, Rust): its OHTTP client against our sidecar, our sealing against its gateway.

Nobody here wrote it. What it needs besides the standards is in `docs/spec/interop.md` §3.
"""

from __future__ import annotations

import base64
import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from mitai_crypto import bhttp
from mitai_crypto.hpke import Aead, setup_sender
from mitai_crypto.key_config import KeyConfig, parse_key_config, request_info
from mitai_crypto.labels import MEDIA_TYPE_REQUEST, MEDIA_TYPE_RESPONSE
from mitai_crypto.ohttp import SealedRequest, seal_request
from mitai_crypto.ohttp_request import _seal_chunks
from support.sealed_client import TOKEN, base64url, chat_body
from support.tng_process import (
    API_HEADER,
    KEY_CONFIG,
    TUNNEL,
    Unwrapper,
    serving,
    tng_client,
    tng_server,
    unwrap,
    wrap,
)
from support.upstream_simulator import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator

CHAT = "/v1/chat/completions"
ABSOLUTE = {"target": b"https://mitai.invalid/v1/chat/completions"}


def fields(number: int) -> dict[str, str]:
    return {
        "host": "mitai.invalid",
        "authorization": f"Bearer {TOKEN}",
        "date": formatdate(time.time(), usegmt=True),
        "mitai-request-id": base64url(number.to_bytes(16, "big")).decode(),
        "content-type": "application/json",
    }


async def through(
    client: httpx.AsyncClient, url: str, body: bytes, number: int, *, absolute: bool = True, connection: bool = False
) -> httpx.Response:
    """Send a request to TNG's client as an application has to: absolute target, no connection field."""
    request = client.build_request(
        "POST", url + CHAT, content=body, headers=fields(number), extensions=ABSOLUTE if absolute else {}
    )
    if not connection:
        del request.headers["connection"]
    return await client.send(request)


# -- its client, our sidecar


async def test_its_client_asks_our_sidecar_and_reads_the_answer(
    sidecar: Sidecar, engine: UpstreamSimulator, tng: Path
) -> None:
    relay = Unwrapper(sidecar.url)
    questions = ["How long is it kept?", "要保存多久？", "要保存多久？請用繁體回答。"]
    async with serving(relay) as port, tng_client(tng, port) as url, httpx.AsyncClient(timeout=20) as client:
        for number, question in enumerate(questions):
            answer = await through(client, url, chat_body(question), number)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["message"]["content"] == "".join(WORDS)
        streamed = await through(client, url, chat_body("续", stream=True), 9)
    lines = [line for line in streamed.text.split("\n") if line.startswith("data: ")]
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert lines[-1] == "data: [DONE]"
    assert [call.document["messages"] for call in engine.calls[:3]] == [
        [{"role": "user", "content": question}] for question in questions
    ]
    assert TOKEN.encode() not in b"".join(body for *_, body in relay.seen)


async def test_what_its_client_puts_around_the_message(sidecar: Sidecar, tng: Path) -> None:
    """The evidence for `docs/spec/interop.md` §3, recorded at the relay."""
    relay = Unwrapper(sidecar.url)
    async with serving(relay) as port, tng_client(tng, port) as url, httpx.AsyncClient(timeout=20) as client:
        await through(client, url, chat_body(), 1)
    (method, path, asked, body), (_, sealed_path, sealed, message) = relay.seen[:2]
    assert (method, path, asked[API_HEADER]) == ("POST", "/", KEY_CONFIG)
    assert json.loads(body) == {"attestation_request": None}
    assert (sealed_path, sealed[API_HEADER]) == ("/", TUNNEL)
    assert sealed["content-type"] == MEDIA_TYPE_REQUEST
    x25519 = sidecar.epochs.current.epoch.keys[1].config
    assert message.startswith(wrap(b"", x25519.public_key))
    assert unwrap(message)[:7] == bytes([x25519.key_id]) + bytes.fromhex("002000010001")


async def test_without_the_relay_its_client_finds_no_keys_here(sidecar: Sidecar, tng: Path) -> None:
    async with tng_client(tng, httpx.URL(sidecar.url).port or 0) as url, httpx.AsyncClient(timeout=20) as client:
        answer = await through(client, url, chat_body(), 1)
    assert answer.status_code == 500
    assert "Failed to request ohttp key config from server" in answer.text


@pytest.mark.parametrize(
    ("absolute", "connection", "refusal"),
    [
        (False, False, "the scheme is not https"),
        (True, True, "connection belongs to a connection"),
    ],
)
async def test_what_it_passes_on_and_binary_http_has_not_is_refused_inside(
    sidecar: Sidecar, engine: UpstreamSimulator, tng: Path, *, absolute: bool, connection: bool, refusal: str
) -> None:
    """A relative target leaves the scheme empty; connection fields are sealed like all others."""
    async with (
        serving(Unwrapper(sidecar.url)) as port,
        tng_client(tng, port) as url,
        httpx.AsyncClient(timeout=20) as client,
    ):
        answer = await through(client, url, chat_body(), 1, absolute=absolute, connection=connection)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed_message"
    assert refusal in answer.json()["error"]["message"]
    assert engine.calls == []


# -- our sealing, its gateway


class Backend:
    """Answers every request with the path that it asked for."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI as uvicorn types it
        while (await receive()).get("more_body", False):
            pass
        body = f"asked for {scope['path']}，密态".encode()
        size = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [size]})
        await send({"type": "http.response.body", "body": body})


async def its_key(client: httpx.AsyncClient, url: str) -> KeyConfig:
    answer = await client.post(url, json={"attestation_request": None}, headers={API_HEADER: KEY_CONFIG})
    listed = base64.b64decode(answer.json()["hpke_key_config"]["encoded_key_config_list"])
    return parse_key_config(listed[2:])


def inner(port: int) -> bytes:
    host = f"127.0.0.1:{port}".encode()
    return bhttp.encode_request(bhttp.Request(b"POST", b"https", host, b"/v1/x", ((b"host", host),), b'{"a":1}'))


def seal_pieces(config: KeyConfig, pieces: tuple[bytes, ...]) -> SealedRequest:
    suite = config.suite(Aead.AES_128_GCM)
    header = config.header(suite)
    enc, context = setup_sender(suite, config.key, request_info(header))
    return _seal_chunks(header + enc, enc, context, pieces)


async def post(client: httpx.AsyncClient, url: str, config: KeyConfig, sealed: SealedRequest) -> httpx.Response:
    headers = {API_HEADER: TUNNEL, "content-type": MEDIA_TYPE_REQUEST}
    return await client.post(url, content=wrap(sealed.message, config.public_key), headers=headers)


async def test_its_gateway_opens_what_we_seal_and_we_open_its_answer(tng: Path) -> None:
    async with serving(Backend()) as port, tng_server(tng, port) as url, httpx.AsyncClient(timeout=20) as client:
        config = await its_key(client, url)
        sealed = seal_pieces(config, (inner(port), b""))
        answer = await post(client, url, config, sealed)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == MEDIA_TYPE_RESPONSE
    response = bhttp.decode_response(sealed.opener.feed(answer.content) + sealed.opener.close())
    assert response.status == 200
    assert response.content.decode().endswith("/v1/x，密态")


@pytest.mark.parametrize("in_final", [1, 5, None])
async def test_its_gateway_opens_no_final_chunk_that_holds_anything(tng: Path, in_final: int | None) -> None:
    """Why the sidecar ends every answer with an empty final chunk, and our client does not talk to TNG."""
    async with serving(Backend()) as port, tng_server(tng, port) as url, httpx.AsyncClient(timeout=20) as client:
        config = await its_key(client, url)
        text = inner(port)
        pieces = (text[:-in_final], text[-in_final:]) if in_final else None
        sealed = seal_request(config, text) if pieces is None else seal_pieces(config, pieces)
        answer = await post(client, url, config, sealed)
    assert answer.status_code >= 500
    assert "Failed to open ciphertext" in answer.text
