"""A small enclave on loopback, built on the real `mitai_crypto`, that can be told to misbehave.

    with EnclaveSimulator() as simulator:
        client = EnclaveClient(simulator.url, policy=simulator.policy(), token="…")

It opens, answers and seals as an enclave does; what it misdoes is in `Misbehaviour`, one field a trick.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from mitai_crypto.bhttp import Request, ResponseEncoder, decode_request
from mitai_crypto.errors import ChannelError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import (
    ATTESTATION_PATH,
    GATEWAY_PATH,
    MEDIA_TYPE_RESPONSE,
    PADDING_HEADER,
    PROBLEM_DATE,
    PROBLEM_OHTTP_KEY,
    RECEIPT_TRAILER,
)
from mitai_crypto.ohttp import OpenedRequest, RequestOpener
from mitai_crypto.receipt import (
    Receipt,
    RequestDigest,
    ResponseDigest,
    Usage,
    exchange_digest,
    issue_receipt,
)
from mitai_enclave.frames import FrameWriter
from support.evidence_builder import BuiltEnclave, build_enclave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from mitai_crypto.policy import TrustPolicy

Field = tuple[bytes, bytes]
PROBLEM = b"application/problem+json"
KEY_PROBLEM = json.dumps({"type": PROBLEM_OHTTP_KEY, "title": "This key is not known here."}).encode()


@dataclass(frozen=True)
class Outer:
    """A request as the operator of the machine saw it."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True)
class Raw:
    """An unsealed answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Reply:
    """What the engine says, piece by piece."""

    status: int = 200
    content_type: bytes = b"text/event-stream; charset=utf-8"
    pieces: tuple[bytes, ...] = ()
    finish: str = "stop"
    headers: tuple[Field, ...] = ()


@dataclass
class Misbehaviour:
    """What the operator or the enclave does wrong.

    Attributes:
        evidence: Makes the bundle for a nonce.
        outer: Answers in the enclave's place where it returns something.
        frames: Changes the sealed frames: response nonce, one a chunk, the final one.
        trailers: Makes the trailers from the receipt.
        headers: Outer fields of a sealed answer besides the content type.
        media_type: The content type of a sealed answer.
        abrupt: Closes the connection without the end of the HTTP body.
        split: Sends the body in TCP pieces of this many bytes.
        pause: Seconds between two frames.
        framed: Whether the pieces of a stream are filled up to frames.
        date: What the enclave thinks the date is; requests with another are refused, sealed.
    """

    evidence: Callable[[bytes], bytes] | None = None
    outer: Callable[[Outer], Raw | None] | None = None
    frames: Callable[[list[bytes]], list[bytes]] | None = None
    trailers: Callable[[bytes], tuple[Field, ...]] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = MEDIA_TYPE_RESPONSE
    abrupt: bool = False
    split: int | None = None
    pause: float = 0.0
    framed: bool = True
    date: bytes | None = None


def event(data: dict[str, object]) -> bytes:
    """Make one server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def chat_event(text: str | None, *, finish: str | None = None) -> bytes:
    """Make one event of a chat completion."""
    delta = {} if text is None else {"content": text}
    return event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "SmolLM2-135M-Instruct",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def streamed(*words: str) -> Reply:
    """Make a streamed chat answer."""
    pieces = [chat_event(word) for word in words]
    return Reply(pieces=(*pieces, chat_event(None, finish="stop"), b"data: [DONE]\n\n"))


def whole(text: str) -> Reply:
    """Make a chat answer in one piece."""
    message = {"role": "assistant", "content": text}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "SmolLM2-135M-Instruct",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    return Reply(content_type=b"application/json", pieces=(json.dumps(body).encode(),))


def refusal(status: int, code: str | None, *, message: str = "no", kind: str = "BadRequestError") -> Reply:
    """Make a sealed refusal in the shape of the OpenAI API."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Reply(status=status, content_type=b"application/json", pieces=(json.dumps(body).encode(),), finish="error")


def models(context_tokens: int | None = 2048) -> Reply:
    """Make the list of served models."""
    entry: dict[str, object] = {"id": "SmolLM2-135M-Instruct", "object": "model"}
    if context_tokens is not None:
        entry["max_model_len"] = context_tokens
    body = json.dumps({"object": "list", "data": [entry]}).encode()
    return Reply(content_type=b"application/json", pieces=(body,), finish="complete")


class SimulatedEnclave:
    """One `BuiltEnclave` and an engine that answers what it is told, without a server.

    Attributes:
        enclave: Keys and evidence; replace it to restart or swap the enclave.
        misbehaviour: What goes wrong.
        answer: What the engine says to an inner request.
        seen: Every outer request.
        executed: Every inner request that reached the engine.
    """

    def __init__(self, enclave: BuiltEnclave | None = None) -> None:
        self.enclave = enclave or build_enclave(now=int(time.time()))
        self.misbehaviour = Misbehaviour()
        self.answer: Callable[[Request], Reply] = default_answer
        self.seen: list[Outer] = []
        self.executed: list[Request] = []

    def policy(self, **changes: object) -> TrustPolicy:
        return self.enclave.policy(**changes)

    def count(self, path: str) -> int:
        return sum(outer.path.startswith(path) for outer in self.seen)

    def respond(self, outer: Outer) -> Raw | Iterator[bytes]:
        """Answer an outer request: in the clear, or with the frames of a sealed answer."""
        self.seen.append(outer)
        if self.misbehaviour.outer is not None and (raw := self.misbehaviour.outer(outer)):
            return raw
        if outer.path.startswith(ATTESTATION_PATH):
            return self._evidence(outer)
        if outer.method != "POST" or not outer.path.startswith(GATEWAY_PATH):
            return Raw(404)
        try:
            opened = self._open(outer)
        except ChannelError:
            return Raw(400, KEY_PROBLEM, (("content-type", PROBLEM.decode()),))
        return self._frames(opened)

    def _evidence(self, outer: Outer) -> Raw:
        encoded = parse_qs(urlsplit(outer.path).query)["nonce"][0]
        nonce = base64.urlsafe_b64decode(encoded + "=")
        make = self.misbehaviour.evidence or self.enclave.bundle
        return Raw(200, make(nonce), (("content-type", "application/json"),))

    def _open(self, outer: Outer) -> OpenedRequest:
        keys = {
            config.key_id: (config, key)
            for config, key in zip(self.enclave.configs, self.enclave.private_keys, strict=True)
        }
        opener = RequestOpener(keys.get)
        opener.feed(outer.body)
        opened = opener.close()
        if outer.path not in {GATEWAY_PATH, f"{GATEWAY_PATH}/{opened.config.fingerprint}"}:
            raise ChannelError("another key in the path")
        return opened

    def _frames(self, opened: OpenedRequest) -> Iterator[bytes]:
        request = decode_request(opened.plaintext)
        if self.misbehaviour.date not in {None, dict(request.headers)[b"date"]}:
            problem = json.dumps({"type": PROBLEM_DATE, "title": "no"}).encode()
            reply = Reply(status=400, content_type=PROBLEM, pieces=(problem,), finish="error")
        else:
            self.executed.append(request)
            reply = self.answer(request)
        frames = list(self._seal(opened, request, reply))
        if self.misbehaviour.frames is not None:
            frames = self.misbehaviour.frames(frames)
        yield from frames

    def _seal(self, opened: OpenedRequest, request: Request, reply: Reply) -> Iterator[bytes]:
        date = self.misbehaviour.date or formatdate(time.time(), usegmt=True).encode()
        headers = ((b"content-type", reply.content_type), (b"date", date), *reply.headers)
        digest = ResponseDigest(reply.status, headers)
        encoder = ResponseEncoder()
        yield opened.sealer.begin()
        yield opened.sealer.seal(encoder.head(reply.status, headers))
        for piece in self._framed(request, reply):
            digest.update(piece)
            yield opened.sealer.seal(encoder.content(piece))
        receipt = self._receipt(opened, request, reply, digest)
        make = self.misbehaviour.trailers or (lambda value: ((RECEIPT_TRAILER, value),))
        yield opened.sealer.finish(encoder.end(make(receipt)))

    def _framed(self, request: Request, reply: Reply) -> Iterator[bytes]:
        """Give the pieces of a stream in frames, as an enclave does unless it is asked not to."""
        off = not self.misbehaviour.framed or (PADDING_HEADER, b"none") in request.headers
        if off or not reply.content_type.startswith(b"text/event-stream"):
            yield from reply.pieces
            return
        frames = FrameWriter()
        for piece in reply.pieces:
            frames.take(piece)
            yield from frames.ready()
        frames.end()
        yield from frames.ready()

    def _receipt(self, opened: OpenedRequest, request: Request, reply: Reply, response: ResponseDigest) -> bytes:
        asked = RequestDigest(request.method, request.scheme, request.authority, request.path, request.headers)
        asked.update(request.content)
        return issue_receipt(
            self.enclave.receipt_key,
            Receipt(
                exchange=exchange_digest(opened.enc, opened.sealer.response_nonce),
                request=asked.digest(),
                response=response.digest(),
                crypto_material=hashlib.sha256(self.enclave.material.encode()).digest(),
                model=self.enclave.material.model_digest,
                configuration=self.enclave.material.configuration,
                finish=reply.finish,
                usage=Usage(7, 5),
                time=int(time.time()),
                tee=TeeKind.SIMULATED,
            ),
        )


class EnclaveSimulator(SimulatedEnclave):
    """A `SimulatedEnclave` behind an HTTP server on loopback."""

    def __init__(self, enclave: BuiltEnclave | None = None) -> None:
        super().__init__(enclave)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def rotated(enclave: BuiltEnclave) -> BuiltEnclave:
    """Return the enclave after a rotation: the next key is the current one, and the old one opens nothing."""
    now = int(time.time())
    current, following = enclave.material.keys
    keys = (
        replace(following, not_before=now - 10, not_after=now + 3000),
        replace(current, not_before=now + 10, not_after=now + 3600),
    )
    material = replace(enclave.material, keys=keys)
    return replace(enclave, material=material, configs=enclave.configs[1:], private_keys=enclave.private_keys[1:])


def default_answer(request: Request) -> Reply:
    """Answer as an engine that knows one sentence."""
    if request.path == b"/v1/models":
        return models()
    if json.loads(request.content).get("stream"):
        return streamed("Hello", " sealed", " world", "，密态。")
    return whole("Hello sealed world，密态。")


def _handler(simulator: SimulatedEnclave) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that goes away
                super().handle()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

        def do_GET(self) -> None:
            self._respond(b"")

        def do_POST(self) -> None:
            self._respond(self.rfile.read(int(self.headers["content-length"])))

        def _respond(self, body: bytes) -> None:
            answer = simulator.respond(Outer(self.command, self.path, tuple(self.headers.items()), body))
            try:
                if isinstance(answer, Raw):
                    self._send_raw(answer)
                else:
                    self._send_sealed(answer)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send_raw(self, raw: Raw) -> None:
            self.send_response(raw.status)
            for name, value in (*raw.headers, ("content-length", str(len(raw.body)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw.body)

        def _send_sealed(self, frames: Iterator[bytes]) -> None:
            tricks = simulator.misbehaviour
            self.send_response(200)
            fields = (("content-type", tricks.media_type), ("transfer-encoding", "chunked"), *tricks.headers)
            for name, value in fields:
                self.send_header(name, value)
            self.end_headers()
            for frame in frames:
                time.sleep(tricks.pause)
                size = tricks.split or len(frame) or 1
                for start in range(0, len(frame), size):
                    piece = frame[start : start + size]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if tricks.abrupt:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            else:
                self.wfile.write(b"0\r\n\r\n")

    return Handler
