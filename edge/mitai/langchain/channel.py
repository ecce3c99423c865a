"""How does a chat model of LangChain reach a verified enclave? (`docs/spec/langchain.md` §3).

Synchronous and asynchronous calls run the same coroutines (ADR 0062). Connections are not kept between calls, since
LangChain never closes a model; verified evidence is.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import anyio
import httpx2

from mitai.enclave import CHAT_PATH, CONNECT_TIMEOUT_SECONDS, refusal_error
from mitai.errors import IncompleteAnswer
from mitai.transport._httpx2 import AsyncWire, SyncWire
from mitai.transport.event_stream import DONE, EventReader
from mitai.transport.exchange import PlainRequest
from mitai.transport.sending import Sender
from mitai.transport.session import Session, checked_url
from mitai.transport.wire import ThreadGate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai.langchain.recording import Recording
    from mitai.transport.sending import SealedAnswer
    from mitai_crypto.policy import TrustPolicy

_JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
_OK: Final = 200
_NOT_KEPT: Final = httpx2.Limits(max_keepalive_connections=0)


class Channel:
    """One enclave under one policy, for threads and for event loops.

    Args:
        url: Where the enclave answers.
        policy: What it must prove.
        token: The access token.
        timeout: Seconds of silence after which an answer counts as broken off.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
    """

    def __init__(self, url: str, policy: TrustPolicy, token: str, timeout: float) -> None:
        self._url = checked_url(url)
        self._policy = policy
        self._token = token
        self._timeouts: dict[str, float | None] = {
            "connect": CONNECT_TIMEOUT_SECONDS,
            "read": timeout,
            "write": timeout,
            "pool": timeout,
        }
        wire = SyncWire(self._url, httpx2.HTTPTransport(limits=_NOT_KEPT))
        self._sync = Sender(Session(self._url, policy, gate=ThreadGate()), wire, token=token)
        # A lock of an event loop belongs to it; loops come and go with `asyncio.run`.
        self._async: WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<Channel {self._url}>"

    def sync_sender(self) -> Sender:
        """Return what sends from threads."""
        return self._sync

    def async_sender(self) -> Sender:
        """Return what sends from the event loop that runs."""
        loop = asyncio.get_running_loop()
        if loop not in self._async:
            wire = AsyncWire(self._url, httpx2.AsyncHTTPTransport(limits=_NOT_KEPT))
            self._async[loop] = Sender(Session(self._url, self._policy, gate=anyio.Lock()), wire, token=self._token)
        return self._async[loop]

    async def begin(self, sender: Sender, body: dict[str, object], recording: Recording) -> SealedAnswer:
        """Send a chat request and return its answer, which was accepted; `recording` knows it before it leaves.

        Raises:
            MitaiError: As for `EnclaveClient.chat`.
        """
        if not body.get("model"):
            body = {**body, "model": (await sender.verify(self._timeouts)).material.model_name}
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        plain = PlainRequest(b"POST", CHAT_PATH, _JSON_HEADERS, content)
        answer = await sender.send(plain, timeouts=self._timeouts, before_send=recording.begin)
        if answer.status == _OK:
            recording.answer = answer
            return answer
        try:
            raise refusal_error(answer.status, await whole(answer))
        finally:
            await answer.close()


async def whole(answer: SealedAnswer) -> dict[str, object]:
    """Return the JSON object that an answer is.

    Raises:
        IncompleteAnswer: It is cut, or no JSON object.
    """
    return _json_object(await answer.read_all())


def events(reader: EventReader, piece: bytes) -> Iterator[dict[str, object]]:
    """Yield the events that the next bytes of a stream complete.

    Raises:
        IncompleteAnswer: One is no JSON object, or says that the engine failed.
    """
    for data in reader.feed(piece):
        if data == DONE:
            continue
        event = _json_object(data)
        if "error" in event:
            raise IncompleteAnswer("The engine broke off while it was answering.")
        yield event


def _json_object(data: str | bytes) -> dict[str, object]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IncompleteAnswer("The enclave sent an answer that is not JSON.") from error
    if not isinstance(value, dict):
        raise IncompleteAnswer("The enclave sent an answer that is no JSON object.")
    return value
