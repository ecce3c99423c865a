"""Server-sent events to a local client: whole events as they come, and never a clean end that is not one.

Spec: `docs/spec/serve.md` §4.3.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import anyio
from starlette.responses import Response

from mitai.errors import MitaiError
from mitai.serve.problems import problem_of
from mitai.transport.event_stream import DONE, MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from starlette.types import Receive, Scope, Send

DONE_EVENT = f"data: {DONE}\n\n".encode()


def json_event(document: Mapping[str, object]) -> bytes:
    """Return one event with a JSON document."""
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def whole_events(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass bytes on up to the last end of an event, unread: an error event behind them is then one of its own."""
    held = b""
    async for piece in pieces:
        if not held and piece.endswith(b"\n\n"):
            yield piece
            continue
        held += piece
        end = max(held.rfind(b"\n\n") + 2, held.rfind(b"\r\n\r\n") + 4)
        if end > 3:  # noqa: PLR2004 - neither was found: -1 + 4
            yield held[:end]
            held = held[end:]
    if held:
        yield held


class EventStream(Response):
    """A stream of events; where its source fails it ends with an error event and a broken connection.

    Args:
        pieces: Bytes of events. A `MitaiError` of it is told as an event.
        headers: Fields of the answer.
    """

    media_type = MEDIA_TYPE

    def __init__(self, pieces: AsyncGenerator[bytes, None], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with _closing_also_when_cancelled(self._pieces) as pieces:
            try:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except MitaiError as error:
                event = json_event(problem_of(error).document())
                await send({"type": "http.response.body", "body": event, "more_body": True})
                return  # without the last part: the server breaks the connection, so that no reader takes it for an end
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _closing_also_when_cancelled(aclosing["AsyncGenerator[bytes, None]"]):  # noqa: N801 - a context manager, as aclosing
    async def __aexit__(self, *failure: object) -> None:
        with anyio.CancelScope(shield=True):
            await super().__aexit__(*failure)
