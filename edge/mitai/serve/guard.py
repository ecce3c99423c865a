"""One request from its first byte to its log line: who asks, how much, how it ends (`docs/spec/serve.md` §1–2, §7)."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import anyio
from starlette.datastructures import MutableHeaders

from mitai.serve.log import duration_class
from mitai.serve.problems import Problem, internal_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mitai.serve.access import Access
    from mitai.serve.log import ServeLog

MAX_BODY_BYTES: Final = 7 * 1024 * 1024  # with its fields it stays below a sealed request's cap
BODY_SECONDS: Final = 30.0
MAX_REQUESTS: Final = 64
ROUTES: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/models": "models",
    "/healthz": "health",
}
_GONE: Final = 499  # logged where the client went away before there was an answer
_ALWAYS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Guard:
    """Stands before an application and lets through what may pass.

    Args:
        app: Answers; it gets the whole body at once, and is cancelled when the client goes away.
        access: Who may ask.
        log: Gets a line for each request.
        attested: Returns the fields that say what is known of the enclave right now.
    """

    def __init__(self, app: ASGIApp, access: Access, log: ServeLog, attested: Callable[[], dict[str, str]]) -> None:
        self._app = app
        self._access = access
        self._log = log
        self._attested = attested
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        began = time.monotonic()
        answer = _Answer(send, self._attested)
        scope["state"] = {}
        self._running += 1
        try:
            await self._serve(scope, receive, answer)
        except Problem as problem:
            await self._refuse(problem, scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - nothing may reach the server's own log, which prints tracebacks
            self._log.emit("failed", error=type(error).__name__)
            await self._refuse(internal_problem(), scope, receive, answer)
        finally:
            self._running -= 1
            self._log.emit(
                "request",
                route=ROUTES.get(scope["path"], "other"),
                kind=scope["state"].get("kind", "plain"),
                status=answer.status or _GONE,
                took=duration_class(time.monotonic() - began),
                broken=not answer.complete,
            )

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        self._access.check(scope["path"], scope["headers"])
        if self._running > MAX_REQUESTS:
            raise Problem(503, "overloaded", "Too many requests are under way.", headers={"retry-after": "1"})
        body = await _read_body(scope, receive)
        if body is None:
            return
        with anyio.CancelScope() as asking:
            watching = asyncio.create_task(_cancel_when_gone(receive, asking))
            try:
                await self._app(scope, _replay(body), answer)
            finally:
                watching.cancel()

    @staticmethod
    async def _refuse(problem: Problem, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if not answer.status:
            await problem.response()(scope, receive, answer)


class _Answer:
    """The way out: adds the fields of every answer and notes how far it came."""

    def __init__(self, send: Send, attested: Callable[[], dict[str, str]]) -> None:
        self._send = send
        self._attested = attested
        self.status = 0
        self.complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message["headers"]))
            if "mitai-tee" not in headers:
                headers.update(self._attested())
            headers.update(_ALWAYS)
            message = {**message, "headers": headers.raw}
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True


async def _read_body(scope: Scope, receive: Receive) -> bytes | None:
    """Return the whole body; None where the client went away.

    Raises:
        Problem: It is too large, or does not arrive in time.
    """
    declared = [value for name, value in scope["headers"] if name == b"content-length"]
    if declared and int(declared[0]) > MAX_BODY_BYTES:  # the server has checked that it is a number
        raise _too_large()
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
            if not message.get("more_body", False):
                return bytes(body)
    raise Problem(408, "request_timeout", "The body did not arrive in time.", headers={"connection": "close"})


def _too_large() -> Problem:
    message = f"The body is larger than {MAX_BODY_BYTES} bytes."
    return Problem(413, "request_too_large", message, headers={"connection": "close"})


async def _cancel_when_gone(receive: Receive, asking: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    asking.cancel()


def _replay(body: bytes) -> Receive:
    """Return a channel that gives the whole body once; a client that goes away shows as cancellation."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not waiting:
            await anyio.sleep_forever()
        return waiting.pop()

    return receive
