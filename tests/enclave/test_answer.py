from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_crypto.aead import Aead
from mitai_crypto.evidence import TeeKind
from mitai_crypto.hpke import Kdf
from mitai_crypto.kem import Kem, generate_private_key
from mitai_crypto.labels import CHUNK_SIZE, FINAL_CHUNK_BYTES, FRAME_BYTES
from mitai_crypto.ohttp import KeyConfig, RequestOpener
from mitai_crypto.receipt import RequestDigest, Usage
from mitai_enclave.answer import EVENTS, JSON, Exchange, SealedAnswer, error_event
from mitai_enclave.attestation import Identity
from mitai_enclave.errors import ClientGone, RequestRefused
from mitai_enclave.inner import WrongDate
from support.sealed_client import Sealed, inner_request, open_answer, seal

if TYPE_CHECKING:
    from collections.abc import MutableMapping

IDENTITY = Identity(TeeKind.SIMULATED, Ed25519PrivateKey.generate(), "vllm", "m", "ab" * 32, "cd" * 32)
MATERIAL = bytes(32)


class Wire:
    """Collects what ASGI is given to send."""

    def __init__(self) -> None:
        self.messages: list[MutableMapping[str, object]] = []

    async def __call__(self, message: MutableMapping[str, object]) -> None:
        self.messages.append(message)

    @property
    def body(self) -> bytes:
        parts = [message["body"] for message in self.messages[1:]]
        return b"".join(part for part in parts if isinstance(part, bytes))


def begin() -> tuple[SealedAnswer, Wire, Sealed]:
    private = generate_private_key(Kem.X25519)
    config = KeyConfig(1, Kem.X25519, private.public_bytes, ((Kdf.HKDF_SHA256, Aead.AES_256_GCM),))
    sealed = seal(config, inner_request())
    opener = RequestOpener({1: (config, private)}.get)
    opener.feed(sealed.message)
    inner = sealed.request
    digest = RequestDigest(inner.method, inner.scheme, inner.authority, inner.path, inner.headers)
    digest.update(inner.content)
    wire = Wire()
    return SealedAnswer(wire, Exchange(opener.close(), digest.digest(), MATERIAL), IDENTITY), wire, sealed


async def test_a_streamed_answer_is_one_chunk_a_piece() -> None:
    answer, wire, sealed = begin()
    answer.padded = False
    assert not answer.started
    await answer.start(200, EVENTS)
    await answer.content(b"data: 1\n\n")
    await answer.content("data: 二\n\n".encode())
    await answer.finish("stop", Usage(1, 2))
    assert answer.started
    assert len(wire.messages) == 5
    assert [message.get("more_body") for message in wire.messages] == [None, True, True, True, False]
    opened = open_answer(sealed, wire.body, IDENTITY, MATERIAL)
    assert opened.content == "data: 1\n\ndata: 二\n\n".encode()
    assert (opened.receipt.finish, opened.receipt.usage, opened.receipt.model) == ("stop", Usage(1, 2), "ab" * 32)
    assert answer.size == len(wire.body)


def sent(wire: Wire) -> list[int]:
    """The sizes of the body's pieces as the wire shows them."""
    parts = [message["body"] for message in wire.messages[1:]]
    return [len(part) for part in parts if isinstance(part, bytes)]


@pytest.mark.parametrize("word", ["1", "二", "an event as long as the words of one answer " * 9])
@pytest.mark.parametrize("finish", ["stop", "error"])
async def test_threat_17_every_frame_has_one_size_and_so_has_the_end(word: str, finish: str) -> None:
    answer, wire, sealed = begin()
    await answer.start(200, EVENTS)
    for _ in range(3):
        await answer.content(f"data: {word}\n\n".encode())
    await answer.finish(finish, Usage(1, 4_000_000) if finish == "stop" else None)
    head, *frames, end = sent(wire)
    assert frames == [FRAME_BYTES] * 3
    assert end == 1 + FINAL_CHUNK_BYTES
    assert head < FRAME_BYTES
    events = open_answer(sealed, wire.body, IDENTITY, MATERIAL).content.decode().splitlines()
    assert [line for line in events if line and not line.startswith(":")] == [f"data: {word}"] * 3


async def test_threat_17_a_line_that_comes_in_parts_shows_no_parts() -> None:
    answer, wire, _ = begin()
    await answer.start(200, EVENTS)
    for byte in b"data: half\n\n":
        await answer.content(bytes([byte]))
    await answer.finish("stop", None)
    assert sent(wire)[1:] == [FRAME_BYTES, FRAME_BYTES, 1 + FINAL_CHUNK_BYTES]


async def test_a_paced_stream_sends_one_frame_a_tick_until_everything_is_out() -> None:
    answer, wire, sealed = begin()
    await answer.start(200, EVENTS)
    async with answer.pace(0.01):
        await answer.content(b"data: 1\n\n" * 200)
        assert answer.size > sum(sent(wire))
        await asyncio.sleep(0.3)
    await answer.finish("stop", None)
    _, *frames, _ = sent(wire)
    assert frames == [FRAME_BYTES] * len(frames)
    content = open_answer(sealed, wire.body, IDENTITY, MATERIAL).content
    assert content.count(b"data: 1\n\n") == 200
    assert content.endswith(b" \n"), "comments fill the silence"


@pytest.mark.parametrize("size", [0, 1, 500, 1000])
async def test_threat_17_a_whole_answer_has_the_size_of_its_class(size: int) -> None:
    lengths = []
    for content in (b"x" * size, b"x" * (size + 7)):
        answer, wire, _ = begin()
        await answer.whole(200, JSON, content, finish="stop", usage=Usage(1, len(content)))
        lengths.append(len(wire.body))
    assert lengths[0] == lengths[1]


async def test_threat_14_refusals_have_one_size() -> None:
    sizes = set()
    for refusal in (RequestRefused(401, "invalid_api_key", "no"), WrongDate(), RequestRefused(400, "x", "长" * 90)):
        answer, wire, _ = begin()
        await answer.refuse(refusal)
        sizes.add(len(wire.body))
    assert len(sizes) == 1


async def test_a_whole_answer_may_be_larger_than_a_chunk() -> None:
    answer, wire, sealed = begin()
    await answer.whole(200, JSON, bytes(3 * CHUNK_SIZE), finish="complete")
    assert len(wire.messages) == 2
    assert open_answer(sealed, wire.body, IDENTITY, MATERIAL).content == bytes(3 * CHUNK_SIZE)


async def test_a_refusal_is_sealed_with_its_receipt() -> None:
    answer, wire, sealed = begin()
    await answer.refuse(RequestRefused(400, "invalid_value", "问题", param="n"))
    opened = open_answer(sealed, wire.body, IDENTITY, MATERIAL)
    assert json.loads(opened.content)["error"] == {
        "message": "问题",
        "type": "invalid_request_error",
        "param": "n",
        "code": "invalid_value",
    }
    assert opened.receipt.finish == "error"


async def test_content_needs_a_head() -> None:
    answer, _, _ = begin()
    with pytest.raises(RuntimeError):
        await answer.content(b"x")


def test_an_error_event_stands_alone_wherever_the_stream_was_cut() -> None:
    cut = b'data: {"choices":[{"delta":{"content":"half'
    stream = cut + error_event(RequestRefused(502, "engine_failed", "stopped"))
    last = stream.decode().split("\n\n")[1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_failed"


async def test_answers_end_with_an_empty_final_chunk() -> None:
    """The final marker and a tag: what receivers open that take no other (docs/spec/interop.md §3)."""
    answer, wire, sealed = begin()
    await answer.whole(200, JSON, b"{}", finish="complete")
    assert wire.body[-17:-16] == b"\0"
    streamed, stream, _ = begin()
    await streamed.start(200, EVENTS)
    await streamed.finish("stop", None)
    last = stream.messages[-1]["body"]
    assert isinstance(last, bytes)
    assert last[-17:-16] == b"\0"
    opener = sealed.opener()
    opener.feed(wire.body)
    assert opener.close() == b""


async def test_threat_20_a_paced_stream_ends_with_its_client() -> None:
    answer, _, _ = begin()
    await answer.start(200, EVENTS)
    answer.is_gone = lambda: True
    with pytest.raises(ClientGone):
        async with answer.pace(1.0):
            await answer.content(b"data: 1\n\n")


async def test_threat_20_a_paced_stream_makes_the_engine_wait() -> None:
    answer, _, _ = begin()
    await answer.start(200, EVENTS)
    async with answer.pace(0.001):
        for _ in range(40):
            await answer.content(b"data: " + b"x" * 16_000 + b"\n\n")
            assert answer._frames.waiting <= 256 * 1024 + 16_008


async def test_a_paced_stream_whose_sending_fails_ends() -> None:
    answer, wire, _ = begin()
    await answer.start(200, EVENTS)

    async def fail(_: object) -> None:
        raise RuntimeError("the connection is no more")

    answer._send = fail
    with pytest.raises(RuntimeError, match="no more"):
        async with answer.pace(0.01):
            await answer.content(b"data: 1\n\n")
    assert wire.messages
