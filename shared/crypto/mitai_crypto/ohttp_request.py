"""Sealed requests: sealing one on the device, opening one in the enclave."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NoReturn

from mitai_crypto.errors import ChannelError, DecapsulationError, HpkeError, MessageTooLarge, TruncatedMessage
from mitai_crypto.hpke import setup_recipient, setup_sender
from mitai_crypto.key_config import HEADER_BYTES, KeyConfig, request_info
from mitai_crypto.labels import FINAL_AAD, MAX_REQUEST_BYTES, REQUEST_LABEL
from mitai_crypto.ohttp_chunks import DOES_NOT_OPEN, FINAL_MARKER, ChunkReader, frame_chunk, split_plaintext
from mitai_crypto.ohttp_response import ResponseOpener, ResponseSealer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mitai_crypto.aead import Aead
    from mitai_crypto.hpke import RecipientContext, SenderContext, Suite
    from mitai_crypto.kem import PrivateKey
    from mitai_crypto.ohttp_response import Sealer


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request that is ready to be sent, and what opens its answer.

    Attributes:
        message: The body to send, of media type `message/ohttp-chunked-req`.
        enc: The encapsulated key inside it; with the response nonce it names the exchange.
        opener: Opens the response to this request and no other.
    """

    message: bytes = field(repr=False)
    enc: bytes = field(repr=False)
    opener: ResponseOpener


@dataclass(frozen=True, slots=True)
class OpenedRequest:
    """A request that verified as a whole.

    Attributes:
        plaintext: The Binary HTTP message.
        enc: The encapsulated key; replay protection remembers its hash.
        config: The key configuration that was used.
        sealer: Seals the response to this request and no other.
    """

    plaintext: bytes = field(repr=False)
    enc: bytes = field(repr=False)
    config: KeyConfig
    sealer: Sealer


def seal_request(config: KeyConfig, plaintext: bytes, *, aead: Aead | None = None) -> SealedRequest:
    """Seal `plaintext` for the holder of the key in `config`, under a fresh key.

    Args:
        config: A key configuration that was verified; `KeyConfig.suite` says how the suite is chosen.
        plaintext: An encoded Binary HTTP request, padding included.
        aead: The AEAD to insist on.

    Raises:
        KeyConfigError: If the configuration does not offer `aead`.
        MessageTooLarge: If the sealed request is over 8 MiB.
        HpkeError: If the public key is a low-order point.
    """
    suite = config.suite(aead)
    header = config.header(suite)
    enc, context = setup_sender(suite, config.key, request_info(header))
    return _seal_chunks(header + enc, enc, context, split_plaintext(plaintext))


def _seal_chunks(head: bytes, enc: bytes, context: SenderContext, pieces: Iterable[bytes]) -> SealedRequest:
    """Seal `pieces` as the chunks of one request, the last of them as its final chunk."""
    *inner, last = pieces
    parts = [head, *(frame_chunk(context.seal(piece)) for piece in inner)]
    parts += [FINAL_MARKER, context.seal(last, FINAL_AAD)]
    message = b"".join(parts)
    if len(message) > MAX_REQUEST_BYTES:
        raise MessageTooLarge(f"a sealed request is over {MAX_REQUEST_BYTES} bytes")
    return SealedRequest(message, enc, ResponseOpener(context, enc))


class RequestOpener:
    """Opens one request; gives nothing out before all of it verified.

        opener = RequestOpener(keys.get)
        for data in body:
            opener.feed(data)
        request = opener.close()

    Every reason for which a request does not open is one `DecapsulationError`; see `docs/spec/ohttp.md` §5.

    Attributes:
        label: Names the format; a message of another one does not open.
    """

    __slots__ = (
        "_chunks",
        "_config",
        "_context",
        "_enc",
        "_failure",
        "_head",
        "_lookup",
        "_max_bytes",
        "_parts",
        "_total",
    )
    label: ClassVar[bytes] = REQUEST_LABEL

    def __init__(
        self,
        lookup: Callable[[int], tuple[KeyConfig, PrivateKey] | None],
        max_bytes: int = MAX_REQUEST_BYTES,
    ) -> None:
        """Prepare to open a request.

        Args:
            lookup: Gives the key with a number, or None where there is none.
            max_bytes: The cap for the whole sealed request.
        """
        self._lookup = lookup
        self._max_bytes = max_bytes
        self._total = 0
        self._head = b""
        self._enc = b""
        self._config: KeyConfig | None = None
        self._context: RecipientContext | None = None
        self._chunks = ChunkReader()
        self._parts: list[bytes] = []
        self._failure: ChannelError | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} after {self._total} bytes>"

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the request.

        Raises:
            DecapsulationError: If it is certain that the request does not open.
            MessageTooLarge: If a chunk or the whole request is over its cap.
        """
        if self._failure is not None:
            raise self._failure
        self._total += len(data)
        if self._total > self._max_bytes:
            self._fail(MessageTooLarge(f"a sealed request is over {self._max_bytes} bytes"))
        try:
            context = self._context
            if context is None:
                data = self._read_head(data)
                context = self._context
                if context is None:
                    return
            self._take(context, data)
        except HpkeError:
            self._fail(DecapsulationError(DOES_NOT_OPEN))
        except ChannelError as failure:
            self._fail(failure)

    def close(self) -> OpenedRequest:
        """Return the opened request: the body has ended, and its final chunk verified.

        Raises:
            DecapsulationError: If the request does not open or is not whole.
        """
        if self._failure is not None:
            raise self._failure
        if self._context is None or self._config is None:
            self._fail(DecapsulationError(DOES_NOT_OPEN))
        try:
            plaintext = self._finish(self._context)
        except (HpkeError, TruncatedMessage):
            self._fail(DecapsulationError(DOES_NOT_OPEN))
        self._failure = ChannelError("the request has been read to its end")
        nonce = os.urandom(self._context.suite.aead.response_nonce_bytes)
        return OpenedRequest(plaintext, self._enc, self._config, self._answer(self._context, nonce))

    def _take(self, context: RecipientContext, data: bytes) -> None:
        """Open the chunks that `data` completes; what it opens is kept."""
        for ciphertext in self._chunks.feed(data):
            self._parts.append(context.open(ciphertext))

    def _finish(self, context: RecipientContext) -> bytes:
        """Open the final chunk and return the whole plaintext."""
        self._parts.append(context.open(self._chunks.close(), FINAL_AAD))
        return b"".join(self._parts)

    def _answer(self, context: RecipientContext, response_nonce: bytes) -> Sealer:
        """Return what seals the response, in the format of the request."""
        return ResponseSealer(context, self._enc, response_nonce)

    def _read_head(self, data: bytes) -> bytes:
        """Collect header and enc, set the context up behind them, and return what follows them."""
        self._head += data
        if len(self._head) < HEADER_BYTES:
            return b""
        header = self._head[:HEADER_BYTES]
        config, private_key, suite = self._find_key(header)
        end = HEADER_BYTES + suite.kem.enc_bytes
        if len(self._head) < end:
            return b""
        self._enc = self._head[HEADER_BYTES:end]
        self._config = config
        self._context = setup_recipient(suite, private_key, self._enc, request_info(header, self.label))
        rest, self._head = self._head[end:], b""
        return rest

    def _find_key(self, header: bytes) -> tuple[KeyConfig, PrivateKey, Suite]:
        """Return the key that `header` names, if it exists and is offered with that suite."""
        found = self._lookup(header[0])
        if found is None:
            raise DecapsulationError(DOES_NOT_OPEN)
        config, private_key = found
        suite = config.headers.get(header)
        if suite is None:
            raise DecapsulationError(DOES_NOT_OPEN)
        return config, private_key, suite

    def _fail(self, failure: ChannelError) -> NoReturn:
        """Give up for good: what was opened so far is dropped."""
        self._failure = failure
        self._parts.clear()
        raise failure from None
