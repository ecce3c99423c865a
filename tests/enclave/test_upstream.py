from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from mitai_enclave.address import LoopbackAddress, UnixAddress
from mitai_enclave.errors import EngineBroke, EngineTimeout, EngineUnreachable
from mitai_enclave.upstream import Exchange, open_exchange, probe
from support.sealed_client import chat_body
from support.upstream_simulator import WORDS, Behaviour, UpstreamSimulator

if TYPE_CHECKING:
    from pathlib import Path


async def start(engine: UpstreamSimulator, *, stream: bool = False, silence: float = 5.0) -> Exchange:
    body = chat_body(stream=stream)
    return await open_exchange(UnixAddress(engine.path), b"POST", b"/v1/chat/completions", body, silence=silence)


async def read_all(exchange: Exchange) -> bytes:
    content = b""
    while data := await exchange.read():
        content += data
    return content


async def test_an_answer_with_a_length(engine: UpstreamSimulator) -> None:
    exchange = await start(engine)
    head = await exchange.head()
    assert (head.status, head.content_type) == (200, "application/json")
    assert json.loads(await read_all(exchange))["choices"]
    assert await exchange.read() == b""
    exchange.abort()


async def test_a_chunked_answer_comes_in_pieces(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(pause=0.02)
    exchange = await start(engine, stream=True)
    await exchange.head()
    pieces = 0
    while await exchange.read():
        pieces += 1
    assert pieces >= len(WORDS)
    exchange.abort()


async def test_a_reader_that_is_slow_slows_the_engine_down_and_loses_nothing(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(padding=3_000_000)
    exchange = await start(engine)
    await exchange.head()
    await asyncio.sleep(0.2)
    assert exchange._buffered < 1_000_000
    assert len(await read_all(exchange)) > 3_000_000
    exchange.abort()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\n\r\nends with the connection",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * 100_000 + b"\r\n",
    ],
)
async def test_an_answer_that_does_not_end_as_its_framing_says_is_broken(engine: UpstreamSimulator, raw: bytes) -> None:
    engine.behaviour = Behaviour(raw=raw)
    exchange = await start(engine)
    with pytest.raises(EngineBroke):
        await read_all(exchange)
    exchange.abort()


async def test_an_informational_answer_is_passed_over(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    exchange = await start(engine)
    assert (await exchange.head()).status == 200
    assert await read_all(exchange) == b"ok"
    exchange.abort()


async def test_silence_has_a_limit(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(silent=True)
    exchange = await start(engine, silence=0.1)
    with pytest.raises(EngineTimeout):
        await exchange.head()


async def test_abort_wakes_the_reader(engine: UpstreamSimulator) -> None:
    engine.behaviour = Behaviour(silent=True)
    exchange = await start(engine)
    asyncio.get_running_loop().call_later(0.05, exchange.abort)
    with pytest.raises(EngineBroke):
        await exchange.head()


async def test_nobody_there(short_path: Path) -> None:
    with pytest.raises(EngineUnreachable):
        await open_exchange(UnixAddress(short_path / "none"), b"GET", b"/", silence=1)
    with pytest.raises(EngineUnreachable):
        await open_exchange(LoopbackAddress("127.0.0.1", 1), b"GET", b"/", silence=1)
    assert not await probe(UnixAddress(short_path / "none"), path=b"/health", seconds=1)


async def test_a_probe_sees_an_engine(engine: UpstreamSimulator) -> None:
    assert await probe(UnixAddress(engine.path), path=b"/health", seconds=1)


async def test_loopback_works_too() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    exchange = await open_exchange(LoopbackAddress("127.0.0.1", port), b"GET", b"/", silence=1)
    assert await read_all(exchange) == b"ok"
    exchange.abort()
    server.close()
    await server.wait_closed()
