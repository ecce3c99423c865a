"""What the cloud operator sees: a TCP relay in front of the enclave that keeps every byte it passes on."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

_READ_SIZE = 65_536
_KEEP_BYTES = 32 * 1024 * 1024


@dataclass
class OperatorView:
    """A load balancer's view of the traffic: relay to `upstream` and record both directions.

    Bytes beyond 32 MiB are passed on and counted, not kept.
    """

    upstream: str
    host: str = "127.0.0.1"
    url: str = ""
    inbound: bytearray = field(default_factory=bytearray, repr=False)
    outbound: bytearray = field(default_factory=bytearray, repr=False)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)
    _relays: set[asyncio.Task[None]] = field(default_factory=set, repr=False)
    _ready: threading.Event = field(default_factory=threading.Event, repr=False)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="operator-view", daemon=True)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def mark(self) -> tuple[int, int]:
        """Return how many bytes have passed in each direction, to look at what comes after."""
        return len(self.inbound), len(self.outbound)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        server = await asyncio.start_server(self._accept, self.host, 0)
        self.url = f"http://{self.host}:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for writer in tuple(self._writers):
            writer.close()
        await asyncio.gather(*self._relays)  # each ends as its connections do

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(self.upstream)
        try:
            up_reader, up_writer = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            writer.close()
            return
        self._writers.update((writer, up_writer))
        if (relay := asyncio.current_task()) is not None:
            self._relays.add(relay)
            relay.add_done_callback(self._relays.discard)
        try:
            await asyncio.gather(_pump(reader, up_writer, self.inbound), _pump(up_reader, writer, self.outbound))
        finally:
            self._writers.difference_update((writer, up_writer))


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, record: bytearray) -> None:
    try:
        while data := await source.read(_READ_SIZE):
            if len(record) < _KEEP_BYTES:
                record += data
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass  # either side may hang up; the other pump sees the end of its stream
    finally:
        target.close()
