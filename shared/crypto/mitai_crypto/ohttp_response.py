"""Sealed responses: sealing them in the enclave, opening them on the device, both while they stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from cryptography.exceptions import InvalidTag

from mitai_crypto.errors import ChannelError, DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.hkdf import expand, extract
from mitai_crypto.labels import (
    AEAD_NONCE_BYTES,
    CHUNK_SIZE,
    FINAL_AAD,
    MAX_RESPONSE_BYTES,
    MAX_SEQUENCE,
    MEDIA_TYPE_RESPONSE,
    RESPONSE_KEY_INFO,
    RESPONSE_LABEL,
    RESPONSE_NONCE_INFO,
)
from mitai_crypto.ohttp_chunks import DOES_NOT_OPEN, FINAL_MARKER, ChunkReader, frame_chunk, split_plaintext

if TYPE_CHECKING:
    from mitai_crypto.aead import Cipher
    from mitai_crypto.hpke import RecipientContext, SenderContext

_TOO_LARGE: Final = f"a sealed response is over {MAX_RESPONSE_BYTES} bytes"


class Sealer(Protocol):
    """What seals one response, whatever its format; comes with the opened request.

    Attributes:
        media_type: Of the sealed response.
        streams: Whether `seal` gives anything out before `finish`.
    """

    media_type: ClassVar[str]
    streams: ClassVar[bool]

    @property
    def response_nonce(self) -> bytes:
        """The random bytes that begin the response; with `enc` they name the exchange."""

    def begin(self) -> bytes:
        """Return the first bytes of the response, once."""

    def seal(self, plaintext: bytes) -> bytes:
        """Take more of the response and return what is sealed so far and was not given out."""

    def finish(self, plaintext: bytes = b"") -> bytes:
        """Return the rest, `plaintext` inside; without it the client refuses the response."""


def response_keys(
    context: SenderContext | RecipientContext, enc: bytes, response_nonce: bytes, label: bytes = RESPONSE_LABEL
) -> tuple[Cipher, int]:
    """Derive the response's cipher and base nonce (RFC 9458 §4.4; `label` is that of the format)."""
    aead = context.suite.aead
    secret = context.export(label, aead.response_nonce_bytes)
    prk = extract(enc + response_nonce, secret)
    nonce = expand(prk, RESPONSE_NONCE_INFO, AEAD_NONCE_BYTES)
    return aead.cipher(expand(prk, RESPONSE_KEY_INFO, aead.key_bytes)), int.from_bytes(nonce, "big")


class ResponseOpener:
    """Opens one response as it arrives; made by `seal_request`.

    for data in stream:
        text = opener.feed(data)
    text = opener.close()      # only now is the answer known to be whole
    """

    __slots__ = (
        "_base_nonce",
        "_chunks",
        "_cipher",
        "_context",
        "_counter",
        "_enc",
        "_failure",
        "_nonce",
        "_total",
    )

    def __init__(self, context: SenderContext, enc: bytes) -> None:
        self._context: SenderContext | None = context
        self._enc = enc
        self._chunks = ChunkReader()
        self._cipher: Cipher | None = None
        self._base_nonce = 0
        self._counter = 0
        self._nonce = b""
        self._total = 0
        self._failure: ChannelError | None = None

    def __repr__(self) -> str:
        return f"<ResponseOpener after {self._counter} chunks>"

    @property
    def response_nonce(self) -> bytes:
        """The nonce that begins the response; with `enc` it names the exchange.

        Raises:
            TruncatedMessage: If it has not arrived yet.
        """
        if self._cipher is None:
            raise TruncatedMessage("the response has not begun")
        return self._nonce

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the response and return the plaintext of the chunks they complete.

        What is returned is authentic and in order; whether more should follow is known only after `close`.

        Raises:
            DecapsulationError: If a chunk does not open. The chunks before it are returned first, and the
                error comes with the next call, however the transport split the stream.
            MessageTooLarge: If a chunk or the whole response is over its cap.
        """
        if self._failure is not None:
            raise self._failure
        self._total += len(data)
        if self._total > MAX_RESPONSE_BYTES:
            self._failure = MessageTooLarge(_TOO_LARGE)
            raise self._failure
        if self._cipher is None:
            data = self._read_nonce(data)
        opened: list[bytes] = []
        try:
            for ciphertext in self._chunks.feed(data):
                opened.append(self._open(ciphertext, None))  # noqa: PERF401 - what was opened before an error is kept
        except ChannelError as failure:
            self._failure = failure
            if not opened:
                raise
        return opened[0] if len(opened) == 1 else b"".join(opened)

    def close(self) -> bytes:
        """Return the plaintext of the final chunk: the stream has ended, and the response is whole.

        Raises:
            TruncatedMessage: If the stream stopped before the final chunk.
            DecapsulationError: If the final chunk does not open as one, for instance because it was cut.
        """
        if self._failure is not None:
            raise self._failure
        self._failure = ChannelError("the response has been read to its end")
        return self._open(self._chunks.close(), FINAL_AAD)

    def _read_nonce(self, data: bytes) -> bytes:
        """Collect the response nonce, derive the keys behind it, and return what follows it."""
        context = self._context
        if context is None:  # unreachable while there is no cipher
            raise TruncatedMessage("the response has not begun")
        missing = context.suite.aead.response_nonce_bytes - len(self._nonce)
        self._nonce += data[:missing]
        if len(data) >= missing:
            self._cipher, self._base_nonce = response_keys(context, self._enc, self._nonce)
            self._context = None  # nothing else may be derived from it
        return data[missing:]

    def _open(self, ciphertext: bytes, aad: bytes | None) -> bytes:
        counter = self._counter
        if self._cipher is None or counter >= MAX_SEQUENCE:
            raise DecapsulationError(DOES_NOT_OPEN)
        nonce = (self._base_nonce ^ counter).to_bytes(AEAD_NONCE_BYTES, "big")
        try:
            plaintext = self._cipher.decrypt(nonce, ciphertext, aad)
        except InvalidTag:
            raise DecapsulationError(DOES_NOT_OPEN) from None
        self._counter = counter + 1
        return plaintext


class ResponseSealer:
    """Seals one response as it is made; comes with the opened request.

        send(sealer.begin())
        send(sealer.seal(data))        # any number of times
        send(sealer.finish())

    Attributes:
        media_type: See `Sealer`.
        response_nonce: The random bytes that begin the response; with `enc` they name the exchange.
        streams: See `Sealer`.
    """

    __slots__ = ("_base_nonce", "_cipher", "_counter", "_state", "_total", "response_nonce")
    media_type: ClassVar[str] = MEDIA_TYPE_RESPONSE
    streams: ClassVar[bool] = True
    _FRESH, _OPEN, _FINISHED = range(3)

    def __init__(self, context: RecipientContext, enc: bytes, response_nonce: bytes) -> None:
        self.response_nonce: Final = response_nonce
        self._cipher, self._base_nonce = response_keys(context, enc, response_nonce)
        self._counter = 0
        self._state = self._FRESH
        self._total = len(response_nonce)

    def __repr__(self) -> str:
        return f"<ResponseSealer after {self._counter} chunks>"

    def begin(self) -> bytes:
        """Return the first bytes of the response, once.

        Raises:
            ChannelError: If the response has begun.
        """
        self._expect(self._FRESH)
        self._state = self._OPEN
        return self.response_nonce

    def seal(self, plaintext: bytes) -> bytes:
        """Return `plaintext` as sealed chunks, each of at most 16,384 bytes; nothing for nothing.

        Raises:
            MessageTooLarge: If the response would be larger than a client accepts, or has too many chunks.
            ChannelError: If the response has not begun or is finished.
        """
        self._expect(self._OPEN)
        if len(plaintext) > CHUNK_SIZE:
            return b"".join([frame_chunk(self._encrypt(piece, None)) for piece in split_plaintext(plaintext)])
        return frame_chunk(self._encrypt(plaintext, None)) if plaintext else b""

    def finish(self, plaintext: bytes = b"") -> bytes:
        """Return the last chunks, `plaintext` inside; without them the client refuses the response.

        Raises:
            MessageTooLarge: As for `seal`.
            ChannelError: If the response has not begun or is finished.
        """
        self._expect(self._OPEN)
        *pieces, last = split_plaintext(plaintext)
        chunks = [frame_chunk(self._encrypt(piece, None)) for piece in pieces]
        chunks += [FINAL_MARKER, self._encrypt(last, FINAL_AAD)]
        self._state = self._FINISHED
        return b"".join(chunks)

    def _expect(self, state: int) -> None:
        if self._state != state:
            raise ChannelError("a response is begun once, sealed, and finished once")

    def _encrypt(self, piece: bytes, aad: bytes | None) -> bytes:
        counter = self._counter
        if counter >= MAX_SEQUENCE:
            raise MessageTooLarge("a sealed response has too many chunks")
        self._counter = counter + 1  # counted first: an interrupted call must not lead to a second use
        nonce = (self._base_nonce ^ counter).to_bytes(AEAD_NONCE_BYTES, "big")
        sealed = self._cipher.encrypt(nonce, piece, aad)
        self._total += len(sealed) + 4  # no length prefix is longer
        if self._total > MAX_RESPONSE_BYTES:
            raise MessageTooLarge(_TOO_LARGE)
        return sealed
