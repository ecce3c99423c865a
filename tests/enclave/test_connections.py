from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import pytest

from mitai_enclave import connections
from mitai_enclave.address import UnixAddress
from mitai_enclave.connections import Connections
from mitai_enclave.errors import EngineBroke, EngineTimeout, EngineUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
HEAD_END = b"\r\n\r\n"


class Engine:
    """Sends the same bytes for every request and keeps its connections, as an engine with keep-alive does.

    Attributes:
        answer: What is sent for each request; nothing to stay silent.
        accepted: How many connections were made.
        requests: The heads that came.
        ended: How many connections ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer = OK
        self.accepted = 0
        self.ended = 0
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.writers.append(writer)
        try:
            while True:
                self.requests.append(await reader.readuntil(HEAD_END))
                writer.write(self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended += 1


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Engine, Connections]]:
    async with Engine(folder / "e.sock") as engine:
        yield engine, Connections(UnixAddress(engine.path))


async def ask(pool: Connections, *, silence: float = 5.0) -> bytes:
    """Carry one exchange to its end."""
    exchange = await pool.open_exchange(b"GET", b"/", silence=silence)
    try:
        content = b""
        while data := await exchange.read():
            content += data
        return content
    finally:
        exchange.abort()


async def test_exchanges_share_a_connection(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        assert [await ask(pool) for _ in range(5)] == [b"ok"] * 5
        assert engine.accepted == 1
        assert b"connection:" not in engine.requests[0].lower()


async def test_exchanges_at_one_time_have_connections_of_their_own(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        assert await asyncio.gather(*(ask(pool) for _ in range(4))) == [b"ok"] * 4
        assert engine.accepted == 4
        assert await asyncio.gather(*(ask(pool) for _ in range(4))) == [b"ok"] * 4
        assert engine.accepted == 4


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret",
        OK + b"secret",
    ],
    ids=["says close", "HTTP/1.0", "a second answer", "bytes behind the answer"],
)
async def test_what_may_hold_more_is_not_used_again(short_path: Path, answer: bytes) -> None:
    async with serving(short_path) as (engine, pool):
        engine.answer = answer
        assert [await ask(pool) for _ in range(3)] == [b"ok"] * 3
        assert engine.accepted == 3


async def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_along(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        engine.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf"
        exchange = await pool.open_exchange(b"GET", b"/", silence=5)
        assert await exchange.read() == b"half"
        exchange.abort()
        engine.answer = OK
        assert await ask(pool) == b"ok"
        assert engine.accepted == 2
        assert engine.ended == 1


async def test_bytes_that_come_late_reach_nobody(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        assert await ask(pool) == b"ok"
        engine.writers[0].write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
        await asyncio.sleep(0.05)
        assert await ask(pool) == b"ok"
        assert engine.accepted == 2


async def test_an_exchange_that_is_over_cannot_end_the_next_one(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        first = await pool.open_exchange(b"GET", b"/", silence=5)
        assert await first.read() == b"ok"
        first.abort()
        second = await pool.open_exchange(b"GET", b"/", silence=5)
        first.abort()
        assert await second.read() == b"ok"
        second.abort()
        assert engine.accepted == 1


@pytest.mark.parametrize("late", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret"], ids=["closed", "bytes"])
async def test_a_kept_connection_is_looked_at_before_it_is_used(short_path: Path, late: bytes) -> None:
    """The engine closes, or speaks, and the event loop has not heard of it yet."""
    asked = 0

    def serve(listener: socket.socket) -> None:
        nonlocal asked
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            asked += 1
            connection.sendall(OK)
            time.sleep(0.05)
            if late:
                connection.sendall(late)
                kept.append(connection)
            else:
                connection.close()

    kept: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(short_path / "e.sock"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        pool = Connections(UnixAddress(short_path / "e.sock"))
        assert await ask(pool) == b"ok"
        time.sleep(0.2)  # noqa: ASYNC251 - the loop must not run meanwhile
        assert await ask(pool) == b"ok"
        thread.join()
    for connection in kept:
        connection.close()
    assert asked == 2
    await asyncio.sleep(0.05)


async def test_nothing_is_sent_twice(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        assert await ask(pool) == b"ok"
        engine.answer = b""
        asked = asyncio.create_task(ask(pool))
        await asyncio.sleep(0.05)
        engine.writers[0].transport.abort()
        with pytest.raises(EngineBroke):
            await asked
        assert len(engine.requests) == 2


async def test_silence_ends_an_exchange_on_a_kept_connection(short_path: Path) -> None:
    async with serving(short_path) as (engine, pool):
        assert await ask(pool) == b"ok"
        engine.answer = b""
        with pytest.raises(EngineTimeout):
            await ask(pool, silence=0.05)
        engine.answer = OK
        assert await ask(pool) == b"ok"
        assert engine.accepted == 2


async def test_what_is_idle_is_closed(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.05)
    async with serving(short_path) as (engine, pool):
        await asyncio.gather(*(ask(pool) for _ in range(3)))
        await asyncio.sleep(0.2)
        assert engine.ended == 3
        assert not pool._idle


async def test_only_so_many_are_kept(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_IDLE", 2)
    async with serving(short_path) as (engine, pool):
        await asyncio.gather(*(ask(pool) for _ in range(5)))
        await asyncio.sleep(0.05)
        assert engine.ended == 3


async def test_nobody_there(short_path: Path) -> None:
    with pytest.raises(EngineUnreachable):
        await ask(Connections(UnixAddress(short_path / "none")))
