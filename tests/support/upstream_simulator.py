"""An OpenAI-compatible engine on a Unix socket that does what a test tells it to.

It simulates the engine on the real seam: HTTP/1.1 over a socket, bytes as they are. Text is deterministic.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import httptools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORDS = ("The", " retention", " period", " is", " 14", " days", ".", " 保存期限", "为十四天", "。")


@dataclass
class Behaviour:
    """What the next answers look like.

    Attributes:
        words: What is generated.
        pause: Seconds between two events.
        die_after: Close the connection after so many events; None to go on to the end.
        status: Status of the answer; from 400 on the body quotes the request.
        silent: Answer nothing.
        raw: Send exactly these bytes and close.
        content_type: Instead of the usual media type.
        with_finish: Whether the last event names a finish reason.
        padding: Bytes of filling inside a JSON answer.
        reply: Makes the message from the request instead of `words`, as an engine with tools and schemas does.
    """

    words: tuple[str, ...] = WORDS
    pause: float = 0.0
    die_after: int | None = None
    status: int = 200
    silent: bool = False
    raw: bytes | None = None
    content_type: str | None = None
    with_finish: bool = True
    padding: int = 0
    reply: Callable[[dict[str, object]], dict[str, object]] | None = None


@dataclass
class Received:
    """One request as the engine saw it."""

    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    aborted: bool = False

    @property
    def document(self) -> dict[str, object]:
        value: dict[str, object] = json.loads(self.body)
        return value


class UpstreamSimulator:
    """The engine; `async with UpstreamSimulator(path)` serves it.

    Attributes:
        requests: Everything that was asked, in order.
        connections: How many connections were made.
        received_bytes: How many bytes came over them.
        behaviour: How to answer from now on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.behaviour = Behaviour()
        self.requests: list[Received] = []
        self.connections = 0
        self.received_bytes = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def calls(self) -> list[Received]:
        """The requests without the sidecar's looks at the engine's health."""
        return [request for request in self.requests if request.method == "POST"]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, str(self.path))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        request = _Parser()
        try:
            while not request.complete:
                data = await reader.read(65536)
                if not data:
                    return
                self.received_bytes += len(data)
                request.feed(data)
            self.requests.append(request.received)
            answer = asyncio.create_task(self._answer(request.received, writer))
            hangup = asyncio.create_task(reader.read(1))
            await asyncio.wait({answer, hangup}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                request.received.aborted = True
                answer.cancel()
            hangup.cancel()
            await asyncio.gather(answer, hangup, return_exceptions=True)
        except ConnectionError:
            request.received.aborted = True
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        behaviour = self.behaviour
        if request.method == "GET":
            models = {"object": "list", "data": [{"id": "simulated", "object": "model"}]}
            await _send_whole(writer, 200, json.dumps(models).encode())
        elif behaviour.silent:
            await asyncio.sleep(3600)
        elif behaviour.raw is not None:
            writer.write(behaviour.raw)
            await writer.drain()
            writer.write_eof()
            await asyncio.sleep(0.05)
        elif behaviour.status >= 400:
            error = {"error": {"message": f"bad input: {request.body.decode()}", "code": behaviour.status}}
            await _send_whole(writer, behaviour.status, json.dumps(error, ensure_ascii=False).encode())
        elif request.path == "/v1/embeddings":
            vector = {"object": "list", "data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 3}}
            await _send_whole(writer, 200, json.dumps(vector).encode())
        elif request.document.get("stream"):
            await self._stream(behaviour, request, writer)
        else:
            message: dict[str, object] = {"role": "assistant", "content": "".join(behaviour.words)}
            if behaviour.reply is not None:
                message |= behaviour.reply(request.document)
            message["pad"] = "x" * behaviour.padding
            whole = {
                "choices": [{"index": 0, "message": message, "finish_reason": _finish(message)}],
                "usage": {"prompt_tokens": 7, "completion_tokens": len(behaviour.words)},
            }
            kind = behaviour.content_type or "application/json"
            await _send_whole(writer, behaviour.status, json.dumps(whole).encode(), kind)

    async def _stream(self, behaviour: Behaviour, request: Received, writer: asyncio.StreamWriter) -> None:
        head = (
            f"HTTP/1.1 200 OK\r\ncontent-type: {behaviour.content_type or 'text/event-stream; charset=utf-8'}"
            "\r\ntransfer-encoding: chunked\r\ncontent-encoding: identity\r\nserver: engine/1\r\n"
            "connection: close\r\n\r\n"
        )
        writer.write(head.encode())
        if behaviour.reply is not None:
            message = behaviour.reply(request.document)
            for delta in _deltas(message):
                _send_event(writer, json.dumps({"choices": [{"index": 0, "delta": delta}]}, ensure_ascii=False))
            last_choice = {"index": 0, "delta": {}, "finish_reason": _finish(message)}
            _send_event(writer, json.dumps({"choices": [last_choice]}))
        for index, word in enumerate(behaviour.words if behaviour.reply is None else ()):
            if behaviour.die_after is not None and index >= behaviour.die_after:
                await writer.drain()
                return
            last = index == len(behaviour.words) - 1 and behaviour.with_finish
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": "stop" if last else None}
            _send_event(writer, json.dumps({"choices": [choice]}, ensure_ascii=False))
            await writer.drain()
            await asyncio.sleep(behaviour.pause)
        if request.document.get("stream_options") == {"include_usage": True}:
            usage = {"prompt_tokens": 7, "completion_tokens": len(behaviour.words)}
            _send_event(writer, json.dumps({"choices": [], "usage": usage}))
        _send_event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _finish(message: dict[str, object]) -> str:
    return "tool_calls" if message.get("tool_calls") else "stop"


def _deltas(message: dict[str, object]) -> Iterator[dict[str, object]]:
    """Cut a message into pieces as vLLM does: text first, then each call's name and its arguments in two parts."""
    yield {"role": "assistant", "content": ""}
    text = str(message.get("content") or "")
    yield from ({"content": text[start : start + 5]} for start in range(0, len(text), 5))
    for index, call in enumerate(message.get("tool_calls") or ()):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        half = len(arguments) // 2
        yield {
            "tool_calls": [
                {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
            ]
        }
        for part in (arguments[:half], arguments[half:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": part}}]}


class _Parser:
    def __init__(self) -> None:
        self.received = Received()
        self.complete = False
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.received.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.received.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self.received.body += body

    def on_message_complete(self) -> None:
        self.received.method = self._parser.get_method().decode()
        self.complete = True


def _send_event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


async def _send_whole(writer: asyncio.StreamWriter, status: int, body: bytes, kind: str = "application/json") -> None:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
