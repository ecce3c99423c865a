"""The TNG binary (`tng-sdk`, Rust) as a process, and the relay that takes its private wrapping off.

TNG puts standard chunked OHTTP into an envelope of its own (`docs/spec/interop.md` §3). The relay knows that
envelope and no key: what it passes on are the bytes that TNG's OHTTP library made.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import socket
import sys
import time
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from mitai_crypto.labels import FOREIGN_GATEWAY_PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

API_HEADER = "x-tng-ohttp-api"
KEY_CONFIG = "/tng/key-config"
TUNNEL = "/tng/tunnel"
LONGEST_START = 30.0


def find_tng() -> Path | None:
    """Find the binary beside this interpreter or on the path."""
    beside = Path(sys.executable).parent / "tng"
    found = beside if beside.is_file() else shutil.which("tng")
    return None if found is None else Path(found)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def wrap(message: bytes, public_key: bytes) -> bytes:
    """Put an OHTTP message into TNG's envelope: no client authentication, and a hint which key is meant."""
    hint = b"\x0a" + bytes([len(public_key)]) + public_key
    metadata = b"\x0a\x00" + b"\x1a" + bytes([len(hint)]) + hint
    return len(metadata).to_bytes(4, "big") + metadata + message


def unwrap(body: bytes) -> bytes:
    """Take TNG's envelope off."""
    return body[4 + int.from_bytes(body[:4], "big") :]


@dataclass
class Unwrapper:
    """An ASGI relay between TNG's client and an RFC 9540 gateway.

    Attributes:
        gateway: Base URL of the gateway.
        seen: What TNG asked for: method, path, header fields and body.
    """

    gateway: str
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI as uvicorn types it
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.seen.append((scope["method"], scope["path"], headers, body))
        async with httpx.AsyncClient(base_url=self.gateway, timeout=20) as client:
            if headers.get(API_HEADER) == KEY_CONFIG:
                listed = (await client.get(FOREIGN_GATEWAY_PATH)).content
                document = {
                    "hpke_key_config": {
                        "expire_timestamp": int(time.time()) + 600,
                        "encoded_key_config_list": base64.b64encode(listed).decode(),
                    }
                }
                await _send(send, 200, "application/json", json.dumps(document).encode())
                return
            kind = {"content-type": headers["content-type"]}
            answer = await client.post(FOREIGN_GATEWAY_PATH, content=unwrap(body), headers=kind)
            await _send(send, answer.status_code, answer.headers["content-type"], answer.content)


async def _send(send: Any, status: int, kind: str, body: bytes) -> None:  # noqa: ANN401 - ASGI as uvicorn types it
    fields = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:  # noqa: ANN401 - ASGI as uvicorn types it
    """Serve an ASGI application on loopback and give its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
    task = asyncio.create_task(server.serve([listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


@asynccontextmanager
async def _running(binary: Path, config: dict[str, object], port: int) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        binary,
        "launch",
        "--config-content",
        json.dumps(config),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await asyncio.wait_for(_until_open(process, port), LONGEST_START)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_open(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        assert process.returncode is None, "TNG ended while it started"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        await writer.wait_closed()
        return


def _mapping(port: int, target: int) -> dict[str, object]:
    ends = {"in": {"host": "127.0.0.1", "port": port}, "out": {"host": "127.0.0.1", "port": target}}
    return {"mapping": ends, "ohttp": {}, "no_ra": True}


@asynccontextmanager
async def tng_client(binary: Path, target: int) -> AsyncIterator[str]:
    """Run TNG's client in front of a port; what is sent to the URL it gives leaves sealed."""
    port = free_port()
    async with _running(binary, {"add_ingress": [_mapping(port, target)]}, port) as url:
        yield url


@asynccontextmanager
async def tng_server(binary: Path, target: int) -> AsyncIterator[str]:
    """Run TNG's gateway in front of a port."""
    port = free_port()
    async with _running(binary, {"add_egress": [_mapping(port, target)]}, port) as url:
        yield url
