"""OHTTP composed of npm packages that are not ours, as a client of our sidecar and as the recipient of our sender.

`panva` is `hpke` with `@panva/hpke-noble`, `dajiaji` is `@hpke/*`; Binary HTTP is `bhttp-js`. The framing between them
(`tests/interop/node/ohttp.mjs`) was written from the RFC and the draft.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from mitai.padding import Padding
from mitai.transport.exchange import Exchange, PlainRequest, imf_fixdate, inner_request, new_request_id
from mitai_crypto import bhttp
from mitai_crypto.hpke import Aead, Kdf, Kem, load_private_key
from mitai_crypto.key_config import KeyConfig
from mitai_crypto.labels import CHUNK_SIZE, FOREIGN_GATEWAY_PATH
from mitai_crypto.ohttp import seal_plain_request, seal_request
from mitai_crypto.verify import verify_evidence
from support.evidence_builder import NONCE, build_enclave, seeded
from support.node_packages import SOURCES, run_script
from support.sealed_client import TOKEN, base64url, chat_body
from support.sealed_exchange import seed
from support.upstream_simulator import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecar import Sidecar
    from support.upstream_simulator import UpstreamSimulator

STACKS = ("panva", "dajiaji")
FORMATS = ("chunked", "plain")
SUITES = (
    pytest.param(Kem.MLKEM768_X25519, Aead.AES_256_GCM, id="MLKEM768-X25519"),
    pytest.param(Kem.X25519, Aead.AES_128_GCM, id="X25519-AES-128"),
    pytest.param(Kem.X25519, Aead.AES_256_GCM, id="X25519-AES-256"),
)
QUESTION = "How long is it kept? 要保存多久？請用繁體回答。"


def request(body: bytes, number: int = 1, **headers: str | None) -> dict[str, object]:
    fields = {
        "authorization": f"Bearer {TOKEN}",
        "content-type": "application/json",
        "date": formatdate(time.time(), usegmt=True),
        "mitai-request-id": base64url(number.to_bytes(16, "big")).decode(),
    }
    fields |= {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    for name in (name.replace("_", "-") for name, value in headers.items() if value is None):
        del fields[name]
    url = "https://mitai.invalid/v1/chat/completions"
    return {"method": "POST", "url": url, "headers": fields, "body": body.decode()}


@dataclass(frozen=True)
class Way:
    """How a foreign client speaks."""

    stack: str
    framing: str
    kem: Kem = Kem.MLKEM768_X25519
    aead: Aead = Aead.AES_256_GCM


async def ask(node: Path, sidecar: Sidecar, way: Way, inner: dict[str, object]) -> dict[str, Any]:
    document = {"gateway": sidecar.url + FOREIGN_GATEWAY_PATH, "request": inner, **asdict(way)}
    return await run_script(node, "client.mjs", document)


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way(stack, framing, *suite.values), id=f"{stack}-{framing}-{suite.id}")
        for stack in STACKS
        for framing in FORMATS
        for suite in SUITES
    ],
)
async def test_a_foreign_client_asks_our_sidecar(
    node: Path, sidecar: Sidecar, engine: UpstreamSimulator, way: Way
) -> None:
    found = await ask(node, sidecar, way, request(chat_body(QUESTION)))
    assert found["inner"]["status"] == 200
    assert json.loads(found["inner"]["body"])["choices"][0]["message"]["content"] == "".join(WORDS)
    assert set(found["inner"]["trailers"]) == {"mitai-receipt"}
    assert engine.calls[0].document["messages"] == [{"role": "user", "content": QUESTION}]


@pytest.mark.parametrize("framing", FORMATS)
async def test_a_foreign_client_reads_a_stream(node: Path, sidecar: Sidecar, framing: str) -> None:
    body = chat_body(QUESTION, stream=True)
    found = await ask(node, sidecar, Way("panva", framing), request(body))
    events = [line for line in found["inner"]["body"].split("\n") if line.startswith("data: ")]
    assert events[-1] == "data: [DONE]"
    assert len(events) == len(WORDS) + 2
    assert (found["chunks"] > 3) == (framing == "chunked")


@pytest.mark.parametrize("framing", FORMATS)
async def test_messages_larger_than_a_chunk(
    node: Path, sidecar: Sidecar, engine: UpstreamSimulator, framing: str
) -> None:
    engine.behaviour.padding = 3 * CHUNK_SIZE
    body = chat_body("长" * CHUNK_SIZE)
    found = await ask(node, sidecar, Way("dajiaji", framing), request(body))
    assert found["inner"]["status"] == 200
    assert len(found["inner"]["body"]) > 3 * CHUNK_SIZE
    assert len(engine.calls[0].body) > 3 * CHUNK_SIZE


@pytest.mark.parametrize(
    ("missing", "word"),
    [("authorization", "authorization: Bearer"), ("mitai_request_id", "mitai-request-id"), ("date", "date")],
)
async def test_what_is_missing_is_named_inside(
    node: Path, sidecar: Sidecar, engine: UpstreamSimulator, missing: str, word: str
) -> None:
    inner = request(chat_body(), **{missing: None})
    found = await ask(node, sidecar, Way("panva", "plain", Kem.X25519, Aead.AES_128_GCM), inner)
    assert found["inner"]["status"] in {400, 401}
    assert word in found["inner"]["body"]
    assert engine.calls == []


# -- our sender, their recipient


def pair(kem: Kem) -> tuple[KeyConfig, bytes]:
    private = seed(f"recipient {kem.name}")
    suites = ((Kdf.HKDF_SHA256, Aead.AES_256_GCM), (Kdf.HKDF_SHA256, Aead.AES_128_GCM))
    return KeyConfig(5, kem, load_private_key(kem, private).public_bytes, suites), private


async def receive(node: Path, stack: str, framing: str, private: bytes, message: bytes) -> dict[str, Any]:
    answer = {"status": 200, "headers": {"content-type": "text/plain"}, "body": "保存五年。" * 9000}
    document = {"stack": stack, "privateKey": private.hex(), "framing": framing, "message": message.hex()}
    return await run_script(node, "recipient.mjs", document | {"answer": answer})


@pytest.mark.parametrize("framing", FORMATS)
@pytest.mark.parametrize(("kem", "aead"), SUITES)
@pytest.mark.parametrize("stack", STACKS)
async def test_a_foreign_recipient_opens_what_we_seal(
    node: Path, stack: str, kem: Kem, aead: Aead, framing: str
) -> None:
    config, private = pair(kem)
    inner = bhttp.Request(
        b"POST", b"https", b"mitai.invalid", b"/v1/x", ((b"accept", b"*/*"),), QUESTION.encode() * 999
    )
    plaintext = bhttp.encode_request(inner, padding=100)
    if framing == "chunked":
        sealed = seal_request(config, plaintext, aead=aead)
        found = await receive(node, stack, framing, private, sealed.message)
        opened = sealed.opener.feed(bytes.fromhex(found["answer"])) + sealed.opener.close()
    else:
        whole = seal_plain_request(config, plaintext, aead=aead)
        found = await receive(node, stack, framing, private, whole.message)
        opened = whole.opener.open(bytes.fromhex(found["answer"]))
    assert found["request"]["url"] == "https://mitai.invalid/v1/x"
    assert found["request"]["headers"]["accept"] == "*/*"
    assert found["request"]["body"] == QUESTION * 999
    response = bhttp.decode_response(opened)
    assert (response.status, response.content.decode()) == (200, "保存五年。" * 9000)


async def test_a_foreign_recipient_opens_what_our_client_sends(node: Path) -> None:
    """The sender's proof for 0x647a: the whole of what a device posts, from evidence to sealed bytes."""
    now = int(time.time())
    enclave = build_enclave(now=now)
    result = verify_evidence(enclave.bundle(NONCE), nonce=NONCE, policy=enclave.policy(), now=now)
    config = result.key_config(now)
    assert config.kem is Kem.MLKEM768_X25519
    plain = PlainRequest(
        b"POST", b"/v1/chat/completions", ((b"Content-Type", b"application/json"),), chat_body(QUESTION)
    )
    asked = inner_request(plain, token=TOKEN, request_id=new_request_id(), date=imf_fixdate(now), padding=Padding())
    message = Exchange(asked, result, config, Padding()).message
    for stack in STACKS:
        found = await receive(node, stack, "chunked", seeded("A", f"{config.kem.name}/current"), message)
        assert found["request"]["url"] == "https://mitai.invalid/v1/chat/completions"
        assert found["request"]["headers"]["authorization"] == f"Bearer {TOKEN}"
        assert json.loads(found["request"]["body"])["messages"][0]["content"] == QUESTION


# -- what the packages are


def test_every_package_is_pinned_by_hash_and_names_no_place() -> None:
    text = (SOURCES / "package-lock.json").read_text()
    packages = {name: entry for name, entry in json.loads(text)["packages"].items() if name}
    wanted = json.loads((SOURCES / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
    assert {f"node_modules/{name}" for name in wanted} <= set(packages)
    for name, entry in packages.items():
        assert entry["integrity"].startswith("sha512-"), name
        assert entry["license"] == "MIT", name
        assert "resolved" not in entry, name
