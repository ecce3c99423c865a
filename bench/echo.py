"""An engine that answers at once: `python bench/echo.py SOCKET PORT` serves on a Unix socket and on loopback."""

from __future__ import annotations

import asyncio
import json
import sys

import httptools

MODELS = json.dumps({"object": "list", "data": [{"id": "echo", "object": "model"}]}).encode()
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "echo",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "echo"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1500, "completion_tokens": 1, "total_tokens": 1501},
    }
).encode()


class Echo(asyncio.Protocol):
    """Answers requests on one connection, as many as come."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        body = MODELS if self.parser.get_method() == b"GET" else ANSWER
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)
        if not self.parser.should_keep_alive():
            self.transport.close()


async def main() -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    await loop.create_unix_server(Echo, sys.argv[1])
    await loop.create_server(Echo, "127.0.0.1", int(sys.argv[2]))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
