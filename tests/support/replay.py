"""Recorded answers of a real model, streamed again through the real client and sidecar, and what the wire shows of it.

The observer is the operator: it sees the length of each request and, since the length of a chunk stands before it
in the clear, the length of every chunk of the answer, and when each piece came.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import httpx2

from mitai.transport import AsyncSealedTransport
from mitai_crypto.labels import GATEWAY_PATH
from support.evidence_builder import build_enclave
from support.sealed_client import TOKEN
from support.sealed_exchange import split_frames
from support.sidecar import running_sidecar
from support.upstream_simulator import UpstreamSimulator
from support.workers import BuiltAttester

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mitai.padding import Padding
    from support.upstream_simulator import Received

TRACES = Path(__file__).parents[1] / "e2e" / "traces.json.gz"
_IN_FLIGHT = 8
_RESPONSE_NONCE = 32


@dataclass(frozen=True)
class Trace:
    """One recorded answer.

    Attributes:
        topic: Which of the topics it is about.
        passages: How many passages stood in the request.
        request: The user message.
        pieces: The answer, token by token.
    """

    topic: str
    passages: int
    request: str
    pieces: tuple[str, ...]


@dataclass
class Observed:
    """What the wire showed of one exchange.

    Attributes:
        sent: Length of the sealed request.
        chunks: Lengths of the chunks of the sealed answer, in order, length prefixes included.
        times: Seconds from the request to each piece of the answer.
    """

    sent: int
    chunks: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


def load_traces(limit: int | None = None) -> list[Trace]:
    """Read the recorded answers, topics in turn."""
    kept = json.loads(gzip.decompress(TRACES.read_bytes()))
    return [
        Trace(
            entry["topic"],
            len(entry["passages"]),
            _request(kept["topics"][entry["topic"]], entry),
            tuple(entry["pieces"]),
        )
        for entry in kept["traces"][:limit]
    ]


def _request(bank: dict[str, list[str]], entry: dict[str, object]) -> str:
    passages, question = entry["passages"], entry["question"]
    text = "\n".join(bank["passages"][index] for index in passages)
    return f"{text}\n\n{bank['questions'][question]}"


class Replaying(UpstreamSimulator):
    """Answers a request as vLLM did when the trace was recorded, one event at a time."""

    traces: dict[str, Trace]
    pause = 0.002  # a token each: the sidecar must not find two at once

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET":
            await super()._answer(request, writer)
            return
        trace = self.traces[request.document["messages"][0]["content"]]
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
            b"connection: close\r\n\r\n"
        )
        last = len(trace.pieces) - 1
        for index, piece in enumerate(trace.pieces):
            choice = {
                "index": 0,
                "delta": {"content": piece},
                "logprobs": None,
                "finish_reason": "length" if index == last else None,
                "token_ids": None,
            }
            event = {
                "id": "chatcmpl-b3f0c5d8c1de4d3c9a5a1d7f3f0c5d8c",
                "object": "chat.completion.chunk",
                "created": 1_795_000_000,
                "model": "simulated",
                "choices": [choice],
            }
            _write_event(writer, json.dumps(event, ensure_ascii=False, separators=(",", ":")))
            await writer.drain()
            await asyncio.sleep(self.pause)
        _write_event(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _write_event(writer: asyncio.StreamWriter, data: str) -> None:
    event = f"data: {data}\n\n".encode()
    writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")


class Tap(httpx2.AsyncBaseTransport):
    """The operator: notes lengths and times of what passes, and passes it on."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.last: Observed | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        observed = Observed(len(await request.aread()))
        response = await self._inner.handle_async_request(request)
        if request.url.path.startswith(GATEWAY_PATH):
            self.last = observed
            response.stream = _Watched(response.stream, observed)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Watched(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, observed: Observed) -> None:
        self._stream = stream
        self._observed = observed
        self._began = time.perf_counter()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = b""
        async for piece in self._stream:
            body += piece
            self._observed.times.append(time.perf_counter() - self._began)
            yield piece
        self._observed.chunks = [len(frame) for frame in split_frames(body[_RESPONSE_NONCE:])]

    async def aclose(self) -> None:
        await self._stream.aclose()


async def replay(
    traces: list[Trace], padding: Padding, *, in_flight: int = _IN_FLIGHT, pause: float = Replaying.pause
) -> list[Observed]:
    """Stream every trace once and return what the wire showed, in the order of the traces.

    Args:
        traces: What the engine says.
        padding: What the client asks for.
        in_flight: How many at a time.
        pause: Seconds that the engine takes for a token.
    """
    machine = build_enclave(now=int(time.time()))
    waiting = asyncio.Queue[int]()
    # In no order that means anything: else times would tell when a trace was replayed, and so which one it is.
    for index in random.Random(1).sample(range(len(traces)), len(traces)):
        waiting.put_nowait(index)
    found: dict[int, Observed] = {}
    with TemporaryDirectory() as folder:
        engine = Replaying(Path(folder) / "engine.sock")
        engine.pause = pause
        engine.traces = {trace.request: trace for trace in traces}
        async with engine, running_sidecar(engine, attester=BuiltAttester(machine)) as sidecar:
            policy = machine.policy(
                model_name=sidecar.identity.model_name,
                model_digest=sidecar.identity.model_digest,
                configuration=(sidecar.identity.configuration,),
                engine=(sidecar.identity.engine,),
            )

            async def work() -> None:
                tap = Tap()
                transport = AsyncSealedTransport(
                    sidecar.url, policy=policy, token=TOKEN, transport=tap, padding=padding
                )
                async with httpx2.AsyncClient(transport=transport, base_url="https://mitai.invalid") as client:
                    while not waiting.empty():
                        index = waiting.get_nowait()
                        body = {
                            "model": "simulated",
                            "messages": [{"role": "user", "content": traces[index].request}],
                            "stream": True,
                        }
                        response = await client.post("/v1/chat/completions", json=body, timeout=60)
                        assert response.status_code == 200
                        assert tap.last is not None
                        found[index] = tap.last

            await asyncio.gather(*(work() for _ in range(in_flight)))
    return [found[index] for index in range(len(traces))]
