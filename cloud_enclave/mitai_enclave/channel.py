"""One end of the socket between keeper and worker: frames in, frames out, and the end of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

from mitai_enclave.codec import decode, encode
from mitai_enclave.errors import ChannelBroken

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

_LENGTH_BYTES: Final = 4
_In = TypeVar("_In")
_Out = TypeVar("_Out")


class Channel(asyncio.Protocol, Generic[_In, _Out]):
    """One end. Made by `open_channel`.

    Args:
        incoming: The messages that the other side may send, by name.
        outgoing: The messages of this side, by name.
        max_bytes: The longest frame that the other side may send.
        on_message: Called with each message; an error of the tree of `ChannelBroken` ends the channel.
        on_end: Called once, when nothing more will come.
    """

    def __init__(
        self,
        incoming: Mapping[str, type[_In]],
        outgoing: Mapping[str, type[_Out]],
        *,
        max_bytes: int,
        on_message: Callable[[_In], None],
        on_end: Callable[[], None],
    ) -> None:
        self._incoming = incoming
        self._names = {kind: name for name, kind in outgoing.items()}
        self._max_bytes = max_bytes
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def send(self, message: _Out) -> None:
        """Send a message; after the end nothing happens."""
        if self._transport is not None and not self._transport.is_closing():
            frame = encode(self._names[type(message)], message)
            self._transport.write(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)

    def close(self) -> None:
        """End the channel now."""
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take every whole frame; whatever breaks a rule is the last thing that is read."""
        self._buffer += data
        try:
            while (frame := self._next_frame()) is not None:
                self._on_message(decode(frame, self._incoming, max_bytes=self._max_bytes))
        except ChannelBroken:
            self._buffer.clear()
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell that it is over."""
        self._on_end()

    def _next_frame(self) -> bytes | None:
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "big")
        if length > self._max_bytes:
            raise ChannelBroken("A frame is too long.")
        end = _LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        frame = bytes(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        return frame


async def open_channel(end: socket.socket, channel: Channel[_In, _Out]) -> None:
    """Connect `channel` to its end of a Unix socket pair."""
    await asyncio.get_running_loop().create_unix_connection(lambda: channel, sock=end)
