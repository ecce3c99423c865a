"""What the sidecar offers to clients that speak RFC 9458 and RFC 9540 and know nothing of ours."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from mitai_crypto import bhttp
from mitai_crypto.hpke import Aead, Kem
from mitai_crypto.key_config import parse_key_config
from mitai_crypto.labels import (
    FOREIGN_GATEWAY_PATH,
    MEDIA_TYPE_KEYS,
    MEDIA_TYPE_PLAIN_RESPONSE,
    MEDIA_TYPE_RESPONSE,
    PROBLEM_DATE,
)
from mitai_crypto.ohttp import KeyConfig, seal_plain_request
from mitai_crypto.receipt import Usage
from mitai_enclave.config import Limits
from support.plain_client import SealedPlain, ask_plain, open_plain_answer, post_plain, seal_plain
from support.sealed_client import base64url, chat_body, inner_request, post
from support.sidecar import running_sidecar
from support.upstream_simulator import WORDS, Behaviour

if TYPE_CHECKING:
    import httpx

    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator


def parse_key_list(data: bytes) -> list[KeyConfig]:
    found = []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(parse_key_config(data[2 : 2 + length]))
        data = data[2 + length :]
    return found


# -- RFC 9540


async def test_the_current_keys_are_listed_for_foreign_clients(sidecar: Sidecar) -> None:
    response = await sidecar.client.get(FOREIGN_GATEWAY_PATH)
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPE_KEYS
    assert response.headers["cache-control"] == "no-store"
    listed = parse_key_list(response.content)
    assert listed == [key.config for key in sidecar.epochs.current.epoch.keys]
    assert [config.kem for config in listed] == [Kem.MLKEM768_X25519, Kem.X25519]


async def test_the_next_keys_are_not_listed_before_their_time(sidecar: Sidecar) -> None:
    before = parse_key_list((await sidecar.client.get(FOREIGN_GATEWAY_PATH)).content)
    later = sidecar.epochs._monotonic() + 3600
    sidecar.epochs._monotonic = lambda: later
    after = parse_key_list((await sidecar.client.get(FOREIGN_GATEWAY_PATH)).content)
    assert not {config.fingerprint for config in before} & {config.fingerprint for config in after}
    assert {config.fingerprint for config in after} == {k.config.fingerprint for k in sidecar.epochs.current.epoch.keys}


async def test_the_listed_path_takes_both_formats(sidecar: Sidecar) -> None:
    assert (await ask_plain(sidecar, path=FOREIGN_GATEWAY_PATH)).status == 200
    sealed = sidecar.seal()
    assert sidecar.open(sealed, await post(sidecar.client, sealed.message, FOREIGN_GATEWAY_PATH)).status == 200


# -- the format in one piece


@pytest.mark.parametrize("question", ["How long is it kept?", "要保存多久？", "要保存多久？請用繁體。"])
async def test_a_plain_request_gets_a_plain_answer(sidecar: Sidecar, engine: UpstreamSimulator, question: str) -> None:
    opened = await ask_plain(sidecar, inner_request(chat_body(question)))
    assert opened.status == 200
    assert json.loads(opened.content)["choices"][0]["message"]["content"] == "".join(WORDS)
    assert opened.receipt.finish == "stop"
    assert opened.receipt.usage == Usage(7, len(WORDS))
    assert question in json.dumps(engine.calls[0].document, ensure_ascii=False)


@pytest.mark.parametrize("aead", [Aead.AES_128_GCM, Aead.AES_256_GCM])
async def test_every_suite_on_offer_opens(sidecar: Sidecar, aead: Aead) -> None:
    for key in sidecar.epochs.current.epoch.keys:
        if aead not in {offered for _, offered in key.config.suites}:
            continue
        for path in ("/mitai/ohttp", f"/mitai/ohttp/{key.config.fingerprint}", FOREIGN_GATEWAY_PATH):
            request = inner_request()
            sealed = seal_plain_request(key.config, bhttp.encode_request(request), aead=aead)
            response = await post_plain(sidecar.client, sealed.message, path)
            assert open_plain_answer(sidecar, SealedPlain(request, sealed, key.config), response).status == 200


async def test_a_stream_is_answered_as_a_whole(sidecar: Sidecar) -> None:
    opened = await ask_plain(sidecar, inner_request(chat_body(stream=True)))
    assert opened.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    lines = [line for line in opened.content.decode().split("\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    assert len(lines) == len(WORDS) + 2
    assert (opened.receipt.finish, opened.receipt.usage) == ("stop", Usage(7, len(WORDS)))


async def test_a_stream_that_breaks_is_an_error_and_no_half_answer(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(die_after=3)
    opened = await ask_plain(sidecar, inner_request(chat_body(stream=True)))
    assert (opened.status, opened.code) == (502, "engine_failed")
    assert opened.receipt.finish == "error"


async def test_threat_20_a_collected_stream_is_capped(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(words=("x" * 1000,) * 20)
    async with running_sidecar(engine, Limits(collected_bytes=10_000)) as sidecar:
        opened = await ask_plain(sidecar, inner_request(chat_body(stream=True)))
    assert (opened.status, opened.code) == (502, "engine_failed")


async def test_padding_is_not_part_of_the_request(sidecar: Sidecar) -> None:
    sealed = seal_plain(sidecar.config, padding=5000)
    response = await post_plain(sidecar.client, sealed.message)
    assert open_plain_answer(sidecar, sealed, response).status == 200


@pytest.mark.parametrize("stream", [False, True])
async def test_threat_17_an_answer_in_one_piece_is_padded_to_a_power_of_two(
    sidecar: Sidecar, engine: UpstreamSimulator, *, stream: bool
) -> None:
    sizes = set()
    for words in (("short",), WORDS):
        engine.behaviour = Behaviour(words=words)
        sealed = seal_plain(sidecar.config, inner_request(chat_body(stream=stream)))
        sizes.add(len((await post_plain(sidecar.client, sealed.message)).content))
    assert sizes == {32 + 2048 + 16} if not stream else sizes <= {32 + (1 << n) + 16 for n in range(11, 15)}


# -- every check of docs/spec/http.md §3, in the other format


async def constant_400s(sidecar: Sidecar) -> dict[str, httpx.Response]:
    good, chunked = seal_plain(sidecar.config).message, sidecar.seal().message
    other_key = sidecar.epochs.current.epoch.keys[1].config
    messages = {
        "empty": b"",
        "one byte": good[:1],
        "half": good[: len(good) // 2],
        "last byte missing": good[:-1],
        "last byte changed": good[:-1] + bytes([good[-1] ^ 1]),
        "something after the end": good + b"\0",
        "enc changed": good[:30] + bytes([good[30] ^ 1]) + good[31:],
        "unknown key id": bytes([(good[0] + 128) % 256]) + good[1:],
        "chunked message": chunked,
    }
    found = {name: await post_plain(sidecar.client, message) for name, message in messages.items()}
    found["plain message as chunked"] = await post(sidecar.client, good)
    found["key of another path"] = await post_plain(sidecar.client, good, f"/mitai/ohttp/{other_key.fingerprint}")
    return found


async def test_threat_14_every_failure_in_one_piece_is_the_constant_400(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    expected = await post(sidecar.client, b"")
    for name, response in (await constant_400s(sidecar)).items():
        assert response.status_code == 400, name
        assert response.headers.raw == expected.headers.raw, name
        assert response.content == expected.content, name
    assert engine.calls == []


async def test_threat_02_a_plain_request_runs_once(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    sealed = seal_plain(sidecar.config)
    first = open_plain_answer(sidecar, sealed, await post_plain(sidecar.client, sealed.message))
    again = open_plain_answer(sidecar, sealed, await post_plain(sidecar.client, sealed.message, FOREIGN_GATEWAY_PATH))
    assert first.status == 200
    assert (again.status, again.code) == (400, "replayed_request")
    assert len(engine.calls) == 1


async def test_threat_41_a_request_id_runs_once_across_formats(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    request = inner_request(request_id=base64url(bytes(range(16))))
    assert (await ask_plain(sidecar, request)).status == 200
    assert (await sidecar.ask(request)).code == "repeated_request"
    assert len(engine.calls) == 1


async def test_what_a_foreign_client_forgets_is_named_in_a_sealed_answer(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    """Each refusal says what to do, so that a client can be made by reading them."""
    wrong = inner_request(authority=b"api.example.com")
    assert "mitai.invalid" in (await ask_plain(sidecar, wrong)).content.decode()
    for date in (None, formatdate(time.time() - 3600, usegmt=True)):
        dated = json.loads((await ask_plain(sidecar, inner_request(date=date))).content)
        assert dated["type"] == PROBLEM_DATE
        assert "date" in dated["title"]
    no_token = await ask_plain(sidecar, inner_request(token=None))
    assert no_token.code == "invalid_api_key"
    assert "authorization: Bearer" in no_token.content.decode()
    no_id = await ask_plain(sidecar, inner_request(request_id=None))
    assert no_id.param == "mitai-request-id"
    assert "16 bytes in base64url" in no_id.content.decode()
    untyped = await ask_plain(sidecar, inner_request(content_type=None))
    assert "application/json" in untyped.content.decode()
    assert engine.calls == []


async def test_the_blind_may_be_left_out(sidecar: Sidecar) -> None:
    """It protects the digests that a device exports; the enclave needs none."""
    request = inner_request()
    bare = replace(request, headers=tuple(line for line in request.headers if line[0] != b"mitai-blind"))
    assert (await ask_plain(sidecar, bare)).status == 200


async def test_threat_40_plain_requests_to_another_authority_route_nothing(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    sidecar.watching.cancel()
    connections = engine.connections
    opened = await ask_plain(sidecar, inner_request(authority=b"169.254.169.254"))
    assert (opened.status, opened.code) == (421, "wrong_authority")
    assert engine.connections == connections


async def test_no_binary_http_inside_gets_a_sealed_400(sidecar: Sidecar) -> None:
    sealed = seal_plain_request(sidecar.config, b"\x07nonsense")
    response = await post_plain(sidecar.client, sealed.message)
    assert response.headers["content-type"] == MEDIA_TYPE_PLAIN_RESPONSE
    answer = bhttp.decode_response(sealed.opener.open(response.content))
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["code"] == "malformed_message"


async def test_indeterminate_length_requests_open_too(sidecar: Sidecar) -> None:
    request = inner_request()
    lines = b"".join(bytes([len(n)]) + n + length(v) + v for n, v in request.headers)
    control = b"".join(bytes([len(p)]) + p for p in (b"POST", b"https", request.authority, request.path))
    half = len(request.content) // 2
    content = b"".join(length(piece) + piece for piece in (request.content[:half], request.content[half:]))
    sealed = seal_plain_request(sidecar.config, b"\x02" + control + lines + b"\0" + content + b"\0\0")
    response = await post_plain(sidecar.client, sealed.message)
    assert open_plain_answer(sidecar, SealedPlain(request, sealed, sidecar.config), response).status == 200


def length(data: bytes) -> bytes:
    return bytes([len(data)]) if len(data) < 64 else (len(data) | 0x4000).to_bytes(2, "big")


async def test_the_answer_has_the_format_of_the_request(sidecar: Sidecar) -> None:
    plain, chunked = seal_plain(sidecar.config), sidecar.seal()
    assert (await post_plain(sidecar.client, plain.message)).headers["content-type"] == MEDIA_TYPE_PLAIN_RESPONSE
    assert (await post(sidecar.client, chunked.message)).headers["content-type"] == MEDIA_TYPE_RESPONSE
