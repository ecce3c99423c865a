"""How is one inner answer sealed? Binary HTTP in OHTTP chunks, digests in passing, the receipt as trailer."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_crypto.bhttp import ResponseEncoder
from mitai_crypto.labels import (
    AEAD_TAG_BYTES,
    FINAL_CHUNK_BYTES,
    MIN_ANSWER_BYTES,
    PROBLEM_DATE,
    RECEIPT_TRAILER,
)
from mitai_crypto.padding import answer_class
from mitai_crypto.receipt import Receipt, ResponseDigest, exchange_digest, issue_receipt
from mitai_enclave.errors import ClientGone
from mitai_enclave.frames import FrameWriter
from mitai_enclave.inner import WrongDate, http_date
from mitai_enclave.observe import ERROR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from mitai_crypto.ohttp import OpenedRequest, Sealer
    from mitai_crypto.receipt import Usage
    from mitai_enclave.asgi import Send
    from mitai_enclave.attestation import Identity
    from mitai_enclave.errors import RequestRefused

_NO_STORE: Final = (b"cache-control", b"no-store")
_INCREMENTAL: Final = (b"incremental", b"?1")
# Its chunk has a length of two bytes and a tag; the empty final chunk behind it has a tag of its own.
_END_BYTES: Final = FINAL_CHUNK_BYTES - 2 - 2 * AEAD_TAG_BYTES
JSON: Final = b"application/json"
EVENTS: Final = b"text/event-stream; charset=utf-8"
_MOST_WAITING: Final = 256 * 1024  # of a paced stream; beyond it the engine has to wait
_PROBLEM: Final = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a receipt says about the request's side.

    Attributes:
        opened: The opened request, with the sealer of its answer.
        request_digest: Digest of the inner request.
        material_digest: Of the `crypto_material` under which the opening key was current.
    """

    opened: OpenedRequest
    request_digest: bytes
    material_digest: bytes


class SealedAnswer:
    """One answer on its way: `start`, `content` any number of times, `finish`; or `whole` alone.

    Sizes are those of `docs/spec/sizes.md` unless the request asked to leave them.

    Args:
        send: ASGI's send.
        exchange: The request's side.
        identity: Signs the receipt.

    Attributes:
        padded: Whether sizes are padded.
        is_gone: Tells whether the client has closed its connection.
    """

    def __init__(self, send: Send, exchange: Exchange, identity: Identity) -> None:
        self._send = send
        self._exchange = exchange
        self._identity = identity
        self._sealer = exchange.opened.sealer
        self._encoder = ResponseEncoder()
        self._digest: ResponseDigest | None = None
        self._frames = FrameWriter()
        self._pace: float | None = None
        self._ticker: asyncio.Task[None] | None = None
        self.is_gone: Callable[[], bool] = lambda: False
        self._sealed = 0
        self.padded = True

    @property
    def streams(self) -> bool:
        """Whether pieces can be sent as they come; otherwise `whole` and `refuse` alone are of use."""
        return self._sealer.streams

    @property
    def started(self) -> bool:
        """Whether anything was sent."""
        return self._digest is not None

    @property
    def size(self) -> int:
        """Sealed bytes so far, and what waits to be sealed."""
        return self._sealed + self._frames.waiting

    async def start(self, status: int, content_type: bytes) -> None:
        """Send status and header fields."""
        head = self._head(status, content_type)
        await self._send({"type": "http.response.start", "status": 200, "headers": outer_headers(self._sealer)})
        await self._body(self._sealer.begin() + self._sealer.seal(head), more=True)

    async def content(self, data: bytes) -> None:
        """Send a piece of an event stream."""
        self._running_digest()  # an answer has a head first, also where the piece is held
        if not self.padded:
            await self._pieces([data])
            return
        self._frames.take(data)
        if self._pace is None:
            await self._pieces(self._frames.ready())
        else:
            await self._drain(_MOST_WAITING)

    @asynccontextmanager
    async def pace(self, seconds: float | None) -> AsyncIterator[None]:
        """Send one frame at each tick, whatever comes within the block, until it is out; at once for None."""
        if seconds is None:
            yield
            return
        self._pace, self._ticker = seconds, asyncio.create_task(self._tick(seconds))
        try:
            yield
            await self._drain(0)
        finally:
            ticker, self._pace = self._ticker, None
            ticker.cancel()
            with suppress(asyncio.CancelledError):
                await ticker

    async def _drain(self, most: int) -> None:
        """Wait until at most so many bytes of whole lines wait for a tick.

        Raises:
            ClientGone: Nobody takes them any more.
        """
        while self._pace is not None and not self._frames.is_empty and self._frames.waiting > most:
            if self.is_gone():
                raise ClientGone("The client closed its connection.")
            if self._ticker is None or self._ticker.done():
                return  # it failed, and whoever waits for it hears why
            await asyncio.sleep(self._pace)

    async def finish(self, finish: str, usage: Usage | None) -> None:
        """Send what is left, the receipt and the final chunk."""
        self._frames.end()
        await self._pieces(self._frames.ready())
        end = self._end(finish, usage)
        if self.padded:
            end += bytes(max(_END_BYTES - len(end), 0))
        await self._body(self._last(end), more=False)

    async def whole(
        self, status: int, content_type: bytes, content: bytes, *, finish: str, usage: Usage | None = None
    ) -> None:
        """Send an answer of which everything is known."""
        message = self._head(status, content_type) + self._piece(content) + self._end(finish, usage)
        if self.padded:
            message += bytes(answer_class(len(message), MIN_ANSWER_BYTES) - len(message))
        await self._send({"type": "http.response.start", "status": 200, "headers": outer_headers(self._sealer)})
        await self._body(self._sealer.begin() + self._last(message), more=False)

    async def refuse(self, refusal: RequestRefused) -> None:
        """Send a refusal."""
        if isinstance(refusal, WrongDate):
            problem = {"type": PROBLEM_DATE, "title": str(refusal)}
            await self.whole(refusal.status, _PROBLEM, _dump(problem), finish=ERROR)
        else:
            await self.whole(refusal.status, JSON, error_document(refusal), finish=ERROR)

    async def _tick(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += seconds
            await asyncio.sleep(due - loop.time())
            await self._pieces([self._frames.tick()])

    async def _pieces(self, pieces: Sequence[bytes]) -> None:
        """Send each piece as a chunk of its own, all of them in one go."""
        if pieces:
            await self._body(b"".join([self._sealer.seal(self._piece(piece)) for piece in pieces]), more=True)

    async def _body(self, data: bytes, *, more: bool) -> None:
        self._sealed += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    def _last(self, data: bytes) -> bytes:
        """Seal `data`, then an empty final chunk: some receivers open no other (`docs/spec/interop.md` §3)."""
        return self._sealer.seal(data) + self._sealer.finish()

    def _head(self, status: int, content_type: bytes) -> bytes:
        headers = ((b"content-type", content_type), (b"date", http_date(time.time())))
        self._digest = ResponseDigest(status, headers)
        return self._encoder.head(status, headers)

    def _piece(self, data: bytes) -> bytes:
        self._running_digest().update(data)
        return self._encoder.content(data)

    def _end(self, finish: str, usage: Usage | None) -> bytes:
        receipt = Receipt(
            exchange=exchange_digest(self._exchange.opened.enc, self._sealer.response_nonce),
            request=self._exchange.request_digest,
            response=self._running_digest().digest(),
            crypto_material=self._exchange.material_digest,
            model=self._identity.model_digest,
            configuration=self._identity.configuration,
            finish=finish,
            usage=usage,
            time=int(time.time()),
            tee=self._identity.tee,
        )
        trailer = issue_receipt(self._identity.receipt_key, receipt)
        return self._encoder.end(((RECEIPT_TRAILER, trailer),))

    def _running_digest(self) -> ResponseDigest:
        if self._digest is None:
            raise RuntimeError("an answer has a head first")
        return self._digest


def outer_headers(sealer: Sealer) -> tuple[tuple[bytes, bytes], ...]:
    """Return the fields of every sealed answer; only one that streams says that it comes in pieces."""
    fields = ((b"content-type", sealer.media_type.encode()), _NO_STORE)
    return (*fields, _INCREMENTAL) if sealer.streams else fields


def error_document(refusal: RequestRefused) -> bytes:
    """Return a refusal in OpenAI's error shape."""
    error = {"message": str(refusal), "type": refusal.kind, "param": refusal.param, "code": refusal.code}
    return _dump({"error": error})


def error_event(refusal: RequestRefused) -> bytes:
    """Return a refusal as a server-sent event of its own, wherever the stream was cut."""
    return b"\n\ndata: " + error_document(refusal) + b"\n\n"


def _dump(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
