"""Oblivious HTTP in one piece, as RFC 9458 itself has it: both sides, for clients that do not speak chunks.

    sealed = seal_plain_request(config, bhttp.encode_request(request))         # a foreign client
    opener = PlainRequestOpener({config.key_id: (config, private_key)}.get)    # enclave
    opener.feed(sealed.message)
    opened = opener.close()
    text = sealed.opener.open(opened.sealer.begin() + opened.sealer.finish(b"…"))

One message, one AEAD call, nothing to cut: an answer exists whole or not at all. Our own client never sends
this format. Spec: `docs/spec/ohttp.md` §8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

from cryptography.exceptions import InvalidTag

from mitai_crypto.errors import ChannelError, DecapsulationError, MessageTooLarge, TruncatedMessage
from mitai_crypto.hpke import setup_sender
from mitai_crypto.key_config import KeyConfig, request_info
from mitai_crypto.labels import (
    AEAD_NONCE_BYTES,
    AEAD_TAG_BYTES,
    MAX_REQUEST_BYTES,
    MAX_RESPONSE_BYTES,
    MEDIA_TYPE_PLAIN_RESPONSE,
    PLAIN_REQUEST_LABEL,
    PLAIN_RESPONSE_LABEL,
)
from mitai_crypto.ohttp_chunks import DOES_NOT_OPEN
from mitai_crypto.ohttp_request import RequestOpener
from mitai_crypto.ohttp_response import response_keys

if TYPE_CHECKING:
    from mitai_crypto.aead import Aead
    from mitai_crypto.hpke import RecipientContext, SenderContext
    from mitai_crypto.ohttp_response import Sealer

_TOO_LARGE: Final = f"a sealed response is over {MAX_RESPONSE_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class SealedPlainRequest:
    """A request that is ready to be sent, and what opens its answer.

    Attributes:
        message: The body to send, of media type `message/ohttp-req`.
        enc: The encapsulated key inside it; with the response nonce it names the exchange.
        opener: Opens the response to this request and no other.
    """

    message: bytes = field(repr=False)
    enc: bytes = field(repr=False)
    opener: PlainResponseOpener


def seal_plain_request(config: KeyConfig, plaintext: bytes, *, aead: Aead | None = None) -> SealedPlainRequest:
    """Seal `plaintext` in one piece for the holder of the key in `config`, under a fresh key.

    Args:
        config: A key configuration; `KeyConfig.suite` says how the suite is chosen.
        plaintext: An encoded Binary HTTP request, padding included.
        aead: The AEAD to insist on.

    Raises:
        KeyConfigError: If the configuration does not offer `aead`.
        MessageTooLarge: If the sealed request is over 8 MiB.
        HpkeError: If the public key is a low-order point.
    """
    suite = config.suite(aead)
    header = config.header(suite)
    enc, context = setup_sender(suite, config.key, request_info(header, PLAIN_REQUEST_LABEL))
    return _seal(header + enc, enc, context, plaintext)


def _seal(head: bytes, enc: bytes, context: SenderContext, plaintext: bytes) -> SealedPlainRequest:
    message = head + context.seal(plaintext)
    if len(message) > MAX_REQUEST_BYTES:
        raise MessageTooLarge(f"a sealed request is over {MAX_REQUEST_BYTES} bytes")
    return SealedPlainRequest(message, enc, PlainResponseOpener(context, enc))


class PlainRequestOpener(RequestOpener):
    """Opens one request that is not chunked; used as `RequestOpener` is, and fails as that does.

    Attributes:
        label: Names the format; a chunked message does not open here, nor one of these there.
    """

    __slots__ = ()
    label: ClassVar[bytes] = PLAIN_REQUEST_LABEL

    def _take(self, context: RecipientContext, data: bytes) -> None:  # noqa: ARG002 - nothing opens before the end
        self._parts.append(data)

    def _finish(self, context: RecipientContext) -> bytes:
        return context.open(b"".join(self._parts))

    def _answer(self, context: RecipientContext, response_nonce: bytes) -> Sealer:
        return PlainResponseSealer(context, self._enc, response_nonce)


class PlainResponseOpener:
    """Opens one response that is not chunked; made by `seal_plain_request`."""

    __slots__ = ("_context", "_enc", "_nonce")

    def __init__(self, context: SenderContext, enc: bytes) -> None:
        self._context: SenderContext | None = context
        self._enc = enc
        self._nonce = b""

    def __repr__(self) -> str:
        return f"<PlainResponseOpener, {'used' if self._context is None else 'unused'}>"

    @property
    def response_nonce(self) -> bytes:
        """The nonce that begins the response; with `enc` it names the exchange.

        Raises:
            TruncatedMessage: If no response was opened.
        """
        if not self._nonce:
            raise TruncatedMessage("the response has not begun")
        return self._nonce

    def open(self, message: bytes) -> bytes:
        """Return the plaintext of the whole response, once.

        Raises:
            TruncatedMessage: If it is shorter than a nonce and a tag.
            DecapsulationError: If it does not open, for instance because it was cut.
            MessageTooLarge: If it is over 64 MiB.
            ChannelError: If a response was given before, opened or not.
        """
        context, self._context = self._context, None
        if context is None:
            raise ChannelError("the response has been read to its end")
        if len(message) > MAX_RESPONSE_BYTES:
            raise MessageTooLarge(_TOO_LARGE)
        nonce_bytes = context.suite.aead.response_nonce_bytes
        if len(message) < nonce_bytes + AEAD_TAG_BYTES:
            raise TruncatedMessage("the sealed response stopped before its end")
        cipher, nonce = response_keys(context, self._enc, message[:nonce_bytes], PLAIN_RESPONSE_LABEL)
        try:
            plaintext = cipher.decrypt(nonce.to_bytes(AEAD_NONCE_BYTES, "big"), message[nonce_bytes:], None)
        except InvalidTag:
            raise DecapsulationError(DOES_NOT_OPEN) from None
        self._nonce = message[:nonce_bytes]
        return plaintext


class PlainResponseSealer:
    """Seals one response in one piece; a `Sealer` that gives everything out at the end.

    Attributes:
        media_type: See `Sealer`.
        response_nonce: The random bytes that begin the response; with `enc` they name the exchange.
        streams: See `Sealer`.
    """

    __slots__ = ("_cipher", "_nonce", "_parts", "_state", "_total", "response_nonce")
    media_type: ClassVar[str] = MEDIA_TYPE_PLAIN_RESPONSE
    streams: ClassVar[bool] = False
    _FRESH, _OPEN, _FINISHED = range(3)

    def __init__(self, context: RecipientContext, enc: bytes, response_nonce: bytes) -> None:
        self.response_nonce: Final = response_nonce
        self._cipher, self._nonce = response_keys(context, enc, response_nonce, PLAIN_RESPONSE_LABEL)
        self._parts: list[bytes] = []
        self._total = len(response_nonce) + AEAD_TAG_BYTES
        self._state = self._FRESH

    def __repr__(self) -> str:
        return f"<PlainResponseSealer after {self._total} bytes>"

    def begin(self) -> bytes:
        """Return the first bytes of the response, once.

        Raises:
            ChannelError: If the response has begun.
        """
        self._expect(self._FRESH)
        self._state = self._OPEN
        return self.response_nonce

    def seal(self, plaintext: bytes) -> bytes:
        """Keep `plaintext` for the end and return nothing.

        Raises:
            MessageTooLarge: If the response would be larger than a client accepts.
            ChannelError: If the response has not begun or is finished.
        """
        self._expect(self._OPEN)
        self._total += len(plaintext)
        if self._total > MAX_RESPONSE_BYTES:
            raise MessageTooLarge(_TOO_LARGE)
        self._parts.append(plaintext)
        return b""

    def finish(self, plaintext: bytes = b"") -> bytes:
        """Return everything behind the nonce, `plaintext` at its end.

        Raises:
            MessageTooLarge: As for `seal`.
            ChannelError: If the response has not begun or is finished.
        """
        self.seal(plaintext)
        self._state = self._FINISHED  # before the one use of the key: there is no second
        message, self._parts = b"".join(self._parts), []
        return self._cipher.encrypt(self._nonce.to_bytes(AEAD_NONCE_BYTES, "big"), message, None)

    def _expect(self, state: int) -> None:
        if self._state != state:
            raise ChannelError("a response is begun once, sealed, and finished once")
