from __future__ import annotations

import asyncio
import hashlib
import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

from mitai_crypto import bhttp
from mitai_crypto.kem import Kem, generate_private_key
from mitai_crypto.labels import MEDIA_TYPE_REQUEST, PROBLEM_DATE, PROBLEM_OHTTP_KEY
from mitai_crypto.ohttp import KeyConfig, seal_request
from mitai_crypto.receipt import Usage
from mitai_enclave.config import Limits
from support.sealed_client import OTHER_TOKEN, base64url, chat_body, inner_request, post, seal
from support.sidecar import running_sidecar
from support.upstream_simulator import WORDS, Behaviour

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator

CANARY = "Canary-7731-金丝雀"


def events(content: bytes) -> list[object]:
    lines = [line[6:] for line in content.decode().split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(content: bytes) -> str:
    found = [event for event in events(content) if isinstance(event, dict) and event.get("choices")]
    return "".join(event["choices"][0]["delta"]["content"] for event in found)


async def test_a_stream_arrives_whole_with_its_receipt(sidecar: Sidecar) -> None:
    opened = await sidecar.ask(inner_request(chat_body(stream=True)))
    assert opened.status == 200
    assert opened.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert text_of(opened.content) == "".join(WORDS)
    assert events(opened.content)[-1] == "[DONE]"
    assert opened.receipt.finish == "stop"
    assert opened.receipt.usage == Usage(7, len(WORDS))
    assert opened.receipt.model is None


async def test_an_answer_that_is_not_streamed(sidecar: Sidecar) -> None:
    opened = await sidecar.ask()
    assert json.loads(opened.content)["choices"][0]["message"]["content"] == "".join(WORDS)
    assert opened.receipt.finish == "stop"
    assert opened.receipt.usage == Usage(7, len(WORDS))


async def test_the_models_route_and_embeddings(sidecar: Sidecar) -> None:
    models = await sidecar.ask(inner_request(method="GET", path="/v1/models", content_type=None))
    assert json.loads(models.content)["data"][0]["id"] == "simulated"
    assert models.receipt.finish == "complete"
    body = json.dumps({"model": "simulated", "input": "密态"}).encode()
    vectors = await sidecar.ask(inner_request(body, path="/v1/embeddings"))
    assert vectors.receipt.finish == "complete"
    assert vectors.receipt.usage == Usage(3, 0)


async def test_pieces_are_passed_on_as_they_come(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.1)
    sealed = sidecar.seal(inner_request(chat_body(stream=True)))
    seen = b""
    async with sidecar.client.stream(
        "POST", "/mitai/ohttp", content=sealed.message, headers={"content-type": MEDIA_TYPE_REQUEST}
    ) as response:
        async for piece in response.aiter_bytes():
            seen += sealed.sealed.opener.feed(piece)
            if b"retention" in seen:
                break
    assert b"days" not in seen


@pytest.mark.parametrize("by_fingerprint", [False, True])
async def test_both_suites_and_both_paths(sidecar: Sidecar, *, by_fingerprint: bool) -> None:
    for key in sidecar.epochs.current.epoch.keys:
        sealed = seal(key.config)
        path = f"/mitai/ohttp/{key.config.fingerprint}" if by_fingerprint else "/mitai/ohttp"
        assert sidecar.open(sealed, await post(sidecar.client, sealed.message, path)).status == 200


async def public_failures(sidecar: Sidecar) -> dict[str, httpx.Response]:
    good = sidecar.seal().message
    stranger = KeyConfig(
        sidecar.config.key_id,
        Kem.MLKEM768_X25519,
        generate_private_key(Kem.MLKEM768_X25519).public_bytes,
        sidecar.config.suites,
    )
    unknown = KeyConfig(
        (sidecar.config.key_id + 128) % 256,
        Kem.MLKEM768_X25519,
        sidecar.config.public_key,
        sidecar.config.suites,
    )
    other_key = sidecar.epochs.current.epoch.keys[1].config
    messages = {
        "empty": b"",
        "plaintext": chat_body(CANARY),
        "one byte": good[:1],
        "half": good[: len(good) // 2],
        "cut before the final chunk": good[:-20],
        "last byte changed": good[:-1] + bytes([good[-1] ^ 1]),
        "enc changed": good[:30] + bytes([good[30] ^ 1]) + good[31:],
        "something after the end": good + b"\0",
        "unknown key id": seal_request(unknown, b"x").message,
        "another key under this id": seal_request(stranger, b"x").message,
        "unknown suite": good[:5] + b"\0\x07" + good[7:],
    }
    found = {name: await post(sidecar.client, message) for name, message in messages.items()}
    path = f"/mitai/ohttp/{other_key.fingerprint}"
    found["key of another path"] = await post(sidecar.client, good, path)
    found["path of no key"] = await post(sidecar.client, good, "/mitai/ohttp/" + "0" * 64)
    return found


async def test_threat_14_every_failure_before_a_context_is_the_same_bytes(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    failures = await public_failures(sidecar)
    first = failures["empty"]
    assert first.status_code == 400
    assert first.json()["type"] == PROBLEM_OHTTP_KEY
    for name, response in failures.items():
        assert response.status_code == first.status_code, name
        assert response.headers.raw == first.headers.raw, name
        assert response.content == first.content, name
    assert engine.calls == []


async def test_threat_01_plaintext_is_refused_and_the_engine_sees_no_byte(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    sidecar.watching.cancel()  # no more looks at its health: every byte counts from here
    await asyncio.sleep(0.1)
    before = engine.received_bytes
    plain = {"content-type": "application/json", "authorization": "Bearer token-of-alice"}
    refused = [
        await sidecar.client.post("/v1/chat/completions", content=chat_body(), headers=plain),
        await sidecar.client.post("/mitai/ohttp", content=chat_body(), headers=plain),
        await sidecar.client.post("/mitai/ohttp", content=sidecar.seal().message),
        await sidecar.client.post(
            "/mitai/ohttp",
            content=sidecar.seal().message,
            headers={"content-type": MEDIA_TYPE_REQUEST, "content-encoding": "gzip"},
        ),
        await sidecar.client.get("/mitai/ohttp"),
        await post(sidecar.client, chat_body()),
        await post(sidecar.client, sidecar.seal().message[:-100]),
        await post(sidecar.client, b""),
    ]
    assert [response.status_code for response in refused] == [404, 415, 415, 415, 405, 400, 400, 400]
    for response in refused[:5]:
        assert "encrypted channel is required" in response.json()["title"]
    assert engine.received_bytes == before
    assert engine.calls == []


async def test_threat_02_the_same_bytes_run_once(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    sealed = sidecar.seal()
    assert sidecar.open(sealed, await post(sidecar.client, sealed.message)).status == 200
    for _ in range(3):
        opened = sidecar.open(sealed, await post(sidecar.client, sealed.message))
        assert (opened.status, opened.code) == (400, "replayed_request")
        assert opened.receipt.finish == "error"
    assert len(engine.calls) == 1


async def test_threat_02_the_same_bytes_at_the_same_time_run_once(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.02)
    sealed = sidecar.seal(inner_request(chat_body(stream=True)))
    answers = await asyncio.gather(*(post(sidecar.client, sealed.message) for _ in range(8)))
    statuses = sorted(sidecar.open(sealed, answer).status for answer in answers)
    assert statuses == [200] + [400] * 7
    assert len(engine.calls) == 1


async def test_threat_02_after_a_restart_the_same_bytes_do_not_open(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    sealed = sidecar.seal()
    assert sidecar.open(sealed, await post(sidecar.client, sealed.message)).status == 200
    async with running_sidecar(engine) as restarted:
        response = await post(restarted.client, sealed.message)
    assert response.status_code == 400
    assert response.json()["type"] == PROBLEM_OHTTP_KEY
    assert len(engine.calls) == 1


async def test_threat_02_a_full_replay_set_refuses_and_forgets_nothing(engine: UpstreamSimulator) -> None:
    async with running_sidecar(engine, Limits(replay_capacity=2)) as sidecar:
        first = sidecar.seal()
        assert sidecar.open(first, await post(sidecar.client, first.message)).status == 200
        assert (await sidecar.ask()).status == 200
        refused = await sidecar.ask()
        assert (refused.status, refused.code) == (503, "replay_set_full")
        assert sidecar.open(first, await post(sidecar.client, first.message)).code == "replayed_request"
    assert len(engine.calls) == 2


async def test_threat_41_one_request_id_of_a_principal_runs_once(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    request_id = base64url(b"0123456789abcdef")
    assert (await sidecar.ask(inner_request(request_id=request_id))).status == 200
    resent = await sidecar.ask(inner_request(request_id=request_id))
    assert (resent.status, resent.code) == (400, "repeated_request")
    other = await sidecar.ask(inner_request(request_id=request_id, token=OTHER_TOKEN))
    assert other.status == 200
    assert len(engine.calls) == 2


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_a_date_outside_the_window_gets_the_enclaves_time(
    sidecar: Sidecar, engine: UpstreamSimulator, minutes: int
) -> None:
    sealed = sidecar.seal(inner_request(date=formatdate(time.time() + minutes * 60, usegmt=True)))
    opened = sidecar.open(sealed, await post(sidecar.client, sealed.message))
    assert opened.status == 400
    assert opened.headers[b"content-type"] == b"application/problem+json"
    assert json.loads(opened.content)["type"] == PROBLEM_DATE
    assert opened.headers[b"date"].endswith(b" GMT")
    assert engine.calls == []


@pytest.mark.parametrize(
    ("behaviour", "status", "code"),
    [
        (Behaviour(status=400), 400, 400),
        (Behaviour(status=404), 404, 404),
        (Behaviour(status=422), 422, 422),
        (Behaviour(status=500), 500, 500),
        (Behaviour(raw=b"not http at all " + CANARY.encode()), 502, "engine_failed"),
        (
            Behaviour(raw=b"HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n"),
            502,
            "engine_failed",
        ),
        (Behaviour(raw=b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{}"), 502, "engine_failed"),
        (Behaviour(raw=b""), 502, "engine_failed"),
        (Behaviour(content_type="text/html"), 502, "engine_failed"),
        (Behaviour(silent=True), 504, "engine_timeout"),
        (Behaviour(padding=40_000), 502, "engine_failed"),
    ],
    ids=[
        "400",
        "404",
        "422",
        "500",
        "garbage",
        "redirect",
        "no-end",
        "nothing",
        "html",
        "silent",
        "too-large",
    ],
)
async def test_threat_15_what_goes_wrong_at_the_engine_is_sealed(
    engine: UpstreamSimulator,
    behaviour: Behaviour,
    status: int,
    code: object,
    capfd: pytest.CaptureFixture[str],
) -> None:
    engine.behaviour = behaviour
    async with running_sidecar(engine, Limits(engine_silence_seconds=1, collected_bytes=20_000)) as sidecar:
        sealed = sidecar.seal(inner_request(chat_body(CANARY)))
        response = await post(sidecar.client, sealed.message)
        opened = sidecar.open(sealed, response)
    assert (opened.status, opened.code) == (status, code)
    assert opened.receipt.finish == "error"
    if isinstance(code, int):
        assert CANARY.encode() in opened.content  # the engine did quote it: the scan below is not idle
    on_the_wire = repr(response.headers).encode() + response.content
    output = capfd.readouterr()
    for form in (CANARY.encode(), CANARY.encode("utf-16-le"), CANARY.encode("gbk"), b"7731"):
        assert form not in on_the_wire
    assert "7731" not in output.out + output.err


async def test_an_engine_that_dies_mid_answer_leaves_a_marked_answer(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    engine.behaviour = Behaviour(die_after=3)
    opened = await sidecar.ask(inner_request(chat_body(stream=True)))
    assert opened.status == 200
    last = events(opened.content)[-1]
    assert isinstance(last, dict)
    assert last["error"]["code"] == "engine_failed"
    assert text_of(opened.content) == "".join(WORDS[:3])
    assert opened.receipt.finish == "error"


async def test_a_stream_without_a_finish_reason_is_marked(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(with_finish=False)
    opened = await sidecar.ask(inner_request(chat_body(stream=True)))
    assert opened.receipt.finish == "error"


async def test_an_answer_that_grows_too_large_is_ended_and_marked(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(words=tuple("x" * 2000 for _ in range(100)))
    async with running_sidecar(engine, Limits(response_bytes=150_000)) as sidecar:
        opened = await sidecar.ask(inner_request(chat_body(stream=True)))
    assert opened.receipt.finish == "error"
    assert b"engine_failed" in opened.content
    assert len(opened.content) < 150_000


async def test_an_engine_that_is_gone_is_a_sealed_503(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    sidecar.watching.cancel()
    await sidecar.engine.stop()
    opened = await sidecar.ask()
    assert (opened.status, opened.code) == (503, "engine_unavailable")
    request_id = base64url(b"fedcba9876543210")
    assert (await sidecar.ask(inner_request(request_id=request_id))).status == 503
    sidecar.engine._healthy = True
    assert (await sidecar.ask(inner_request(request_id=request_id))).status == 200  # a 503 spends no id


async def test_a_client_that_goes_away_aborts_the_generation(sidecar: Sidecar, engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.2)
    sealed = sidecar.seal(inner_request(chat_body(stream=True)))
    async with sidecar.client.stream(
        "POST", "/mitai/ohttp", content=sealed.message, headers={"content-type": MEDIA_TYPE_REQUEST}
    ) as response:
        async for _ in response.aiter_bytes():
            break
    for _ in range(100):
        if engine.calls[0].aborted:
            break
        await asyncio.sleep(0.02)
    assert engine.calls[0].aborted


async def test_threat_20_sizes_are_bounded(engine: UpstreamSimulator) -> None:
    async with running_sidecar(engine, Limits(request_bytes=4096, request_seconds=1)) as sidecar:
        declared = await post(sidecar.client, bytes(4097))
        assert declared.status_code == 413

        async def undeclared() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield bytes(1000)

        headers = {"content-type": MEDIA_TYPE_REQUEST}
        streamed = await sidecar.client.post("/mitai/ohttp", content=undeclared(), headers=headers)
        assert streamed.status_code == 413

        async def slow() -> AsyncIterator[bytes]:
            yield sidecar.seal().message[:10]
            await asyncio.sleep(2)

        late = await sidecar.client.post("/mitai/ohttp", content=slow(), headers=headers)
        assert late.status_code == 408
        # One chunk that claims 64 MiB: refused at its length, with the one answer of everything that does not open.
        huge = sidecar.seal().message[: 7 + 1120] + b"\x84\x00\x00\x00" + bytes(100)
        assert (await post(sidecar.client, huge)).status_code == 400
    assert engine.calls == []


async def test_threat_20_slots_are_bounded(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.1)
    async with running_sidecar(engine, Limits(running=1, reading=1, request_seconds=2)) as sidecar:
        first = sidecar.seal(inner_request(chat_body(stream=True)))
        running = asyncio.create_task(post(sidecar.client, first.message))
        await asyncio.sleep(0.2)
        refused = await sidecar.ask()
        assert (refused.status, refused.code) == (503, "overloaded")

        async def slow() -> AsyncIterator[bytes]:
            yield b"x"
            await asyncio.sleep(1)

        headers = {"content-type": MEDIA_TYPE_REQUEST}
        reading = asyncio.create_task(sidecar.client.post("/mitai/ohttp", content=slow(), headers=headers))
        await asyncio.sleep(0.2)
        busy = await post(sidecar.client, sidecar.seal().message)
        assert busy.status_code == 503
        assert busy.headers["retry-after"] == "1"
        assert (await reading).status_code == 400
        assert sidecar.open(first, await running).status == 200
        assert (await sidecar.ask()).status == 200


async def test_threat_33_no_framing_field_of_the_engine_survives(sidecar: Sidecar) -> None:
    for body in (chat_body(), chat_body(stream=True)):
        sealed = sidecar.seal(inner_request(body))
        response = await post(sidecar.client, sealed.message)
        opened = sidecar.open(sealed, response)
        assert set(opened.headers) == {b"content-type", b"date"}
        assert "content-encoding" not in response.headers


async def test_threat_39_header_fields_travel_inside_and_end_at_the_sidecar(
    sidecar: Sidecar, engine: UpstreamSimulator
) -> None:
    extra = (
        (b"user-agent", b"agent-7731"),
        (b"x-conversation", b"conversation-7731"),
        (b"cookie", b"c=7731"),
    )
    sealed = sidecar.seal(inner_request(extra=extra))
    response = await post(sidecar.client, sealed.message)
    assert sidecar.open(sealed, response).status == 200
    for wire in (sealed.message, response.content, repr(response.headers).encode()):
        assert b"7731" not in wire
        assert b"token-of-alice" not in wire
    (call,) = engine.calls
    assert set(call.headers) == {"host", "accept", "content-type", "content-length"}
    assert call.headers["host"] == "engine"


@pytest.mark.parametrize(
    "name",
    [
        "x-client-pub-key",
        "x-response-key",
        "ehbp-client-public-key",
        "ehbp-encapsulated-key",
        "encryption-key",
        "ohttp-keys",
    ],
)
async def test_threat_07_a_header_of_somebody_on_the_way_changes_nothing(
    sidecar: Sidecar, engine: UpstreamSimulator, name: str
) -> None:
    """Whoever is between device and sidecar adds a key of his own, then swaps it; the answer is still the device's."""
    for key in (bytes(32), b"\x09".ljust(32, b"\0")):
        sealed = sidecar.seal()
        headers = {"content-type": MEDIA_TYPE_REQUEST, name: key.hex()}
        response = await sidecar.client.post("/mitai/ohttp", content=sealed.message, headers=headers)
        opened = sidecar.open(sealed, response)
        assert opened.status == 200
        assert opened.receipt.finish == "stop"
        assert key.hex() not in repr(response.headers)
    assert all(name not in call.headers for call in engine.calls)
    assert len(engine.calls) == 2


@pytest.mark.parametrize("authority", [b"api.example.com", b"127.0.0.1:8000", b"mitai.invalid:443", b"x@mitai.invalid"])
async def test_threat_40_another_authority_routes_nothing(
    sidecar: Sidecar, engine: UpstreamSimulator, authority: bytes
) -> None:
    sidecar.watching.cancel()
    connections = engine.connections
    opened = await sidecar.ask(inner_request(authority=authority))
    assert (opened.status, opened.code) == (421, "wrong_authority")
    assert engine.calls == []
    assert engine.connections == connections


async def test_a_message_that_is_no_binary_http_gets_a_sealed_400(sidecar: Sidecar) -> None:
    sealed = sidecar.seal()
    sealed.sealed = seal_request(sidecar.config, b"\x07nonsense")
    response = await post(sidecar.client, sealed.message)
    opener = sealed.opener()
    answer = bhttp.decode_response(opener.feed(response.content) + opener.close())
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["code"] == "malformed_message"
    assert [name for name, _ in answer.trailers] == [b"mitai-receipt"]


async def test_a_retired_key_still_opens_and_its_receipt_names_its_own_section(sidecar: Sidecar) -> None:
    old = sidecar.epochs.current
    sealed = sidecar.seal()
    later = sidecar.epochs._monotonic() + 3600
    sidecar.epochs._monotonic = lambda: later
    assert sidecar.epochs.current is not old
    opened = sidecar.open(sealed, await post(sidecar.client, sealed.message))
    assert opened.status == 200
    assert opened.receipt.crypto_material == hashlib.sha256(old.material).digest()
    much_later = later + 3600
    sidecar.epochs._monotonic = lambda: much_later
    assert (await post(sidecar.client, sealed.message)).status_code == 400


async def test_a_fault_of_our_own_is_a_sealed_500_without_its_text(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError(CANARY)

    monkeypatch.setattr("mitai_enclave.unseal.check_request", fail)
    opened = await sidecar.ask()
    assert (opened.status, opened.code) == (500, "internal_error")
    assert CANARY.encode() not in opened.content


async def test_threat_48_scrapes_are_equal_for_two_lengths(engine: UpstreamSimulator) -> None:
    texts = []
    for words, prompt in ((WORDS, "short"), (WORDS * 20, "long " * 20_000)):
        engine.behaviour = Behaviour(words=words)
        async with running_sidecar(engine) as sidecar:
            before = sidecar.metrics.text
            await sidecar.ask(inner_request(chat_body(prompt, stream=True)))
            assert sidecar.metrics.text == before  # a scrape does not choose the moment
            sidecar.metrics.refresh()
            texts.append(sidecar.metrics.text)
    assert texts[0] == texts[1]
    assert b'outcome="ok",route="chat"} 1' in texts[0]
