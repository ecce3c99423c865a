"""One sealed exchange without any IO: seal a request, open its answer as it arrives, check its receipt.

Spec: `docs/spec/client.md` §2 and §4.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from mitai.errors import ChannelError, IncompleteAnswer, ReceiptError
from mitai.transport.event_stream import MEDIA_TYPE as EVENT_STREAM
from mitai.transport.event_stream import DoneHoldBack, FillingRemover
from mitai_crypto.bhttp import Content, Head, Request, ResponseDecoder, encode_request
from mitai_crypto.labels import (
    AUTHORITY,
    BLIND_HEADER,
    CADENCE_HEADER,
    FRAME_CONTENT_BYTES,
    GATEWAY_PATH,
    PADDING_HEADER,
    RECEIPT_TRAILER,
    REQUEST_ID_HEADER,
    SCHEME,
)
from mitai_crypto.ohttp import seal_request
from mitai_crypto.receipt import Receipt, RequestDigest, ResponseDigest, exchange_digest, verify_receipt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mitai.padding import Padding
    from mitai_crypto.bhttp import Event, Field
    from mitai_crypto.ohttp import KeyConfig, SealedRequest
    from mitai_crypto.verify import AttestationResult

REQUEST_ID_BYTES: Final = 16
BLIND_BYTES: Final = 32
DROPPED_HEADERS: Final = frozenset(
    {
        b"accept-encoding", b"connection", b"content-length", b"date", b"expect", b"host", b"http2-settings",
        b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te", b"trailer",
        b"transfer-encoding", b"upgrade",
        BLIND_HEADER, CADENCE_HEADER, PADDING_HEADER, REQUEST_ID_HEADER,
    }
)  # fmt: skip
FRAMING_HEADERS: Final = frozenset({b"content-length", b"content-encoding", b"transfer-encoding"})


@dataclass(frozen=True)
class PlainRequest:
    """What a caller wants to say to the engine.

    Attributes:
        method: For instance ``b"POST"``.
        path: Path and query.
        headers: Fields as the caller's library made them.
        content: The whole body.
    """

    method: bytes
    path: bytes
    headers: tuple[Field, ...] = field(repr=False)
    content: bytes = field(default=b"", repr=False)


def new_request_id() -> bytes:
    """Return the name of one intended execution: 16 random bytes, base64url."""
    return _random_text(REQUEST_ID_BYTES)


def imf_fixdate(now: float) -> bytes:
    """Return a `date` field for a Unix time."""
    return _date_of_second(int(now))


@lru_cache(maxsize=8)  # requests of one second have one date
def _date_of_second(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")


def inner_request(
    plain: PlainRequest, *, token: str | None, request_id: bytes, date: bytes, padding: Padding
) -> Request:
    """Return the request that is sealed: without framing, routing or coding, with date, id, blind and sizes.

    Raises:
        BhttpError: The caller's method, path or a field cannot be sent as Binary HTTP.
    """
    listed = {
        name.strip().lower()
        for key, value in plain.headers
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    dropped = DROPPED_HEADERS | listed | ({b"authorization"} if token is not None else set())
    headers = [(key.lower(), value) for key, value in plain.headers if key.lower() not in dropped]
    headers.append((b"accept-encoding", b"identity"))
    if token is not None:
        headers.append((b"authorization", b"Bearer " + token.encode("utf-8")))
    headers += [
        (b"date", date),
        (REQUEST_ID_HEADER, request_id),
        (BLIND_HEADER, _random_text(BLIND_BYTES)),
        *padding.fields(),
    ]
    return Request(plain.method, SCHEME, AUTHORITY, plain.path, tuple(headers), plain.content)


class Exchange:
    """A request sealed to one verified key, and the reader of its answer.

    Args:
        request: The inner request.
        attestation: The verified evidence that `config` came in.
        config: The enclave's current key.
        padding: What sizes may show.

    Attributes:
        target: The outer path, which names the key.
        message: The sealed body.
        request_digest: What the receipt must name, 32 bytes.
        attestation: As given.

    Raises:
        MessageTooLarge: The sealed request is over its cap.
    """

    def __init__(self, request: Request, attestation: AttestationResult, config: KeyConfig, padding: Padding) -> None:
        digest = RequestDigest(request.method, request.scheme, request.authority, request.path, request.headers)
        digest.update(request.content)
        self.request_digest: Final = digest.digest()
        self.attestation: Final = attestation
        self.target: Final = f"{GATEWAY_PATH}/{config.fingerprint}"
        self._framed: Final = padding.padded
        self._sealed = seal_request(config, padding.pad(encode_request(request)))
        self.message: Final = self._sealed.message

    def answer(self) -> AnswerReader:
        """Return the reader for the answer to this request."""
        return AnswerReader(self._sealed, self.request_digest, self.attestation, framed=self._framed)


class AnswerReader:
    """Opens one answer as it arrives.

        while data := more():
            show(reader.feed(data))
        show(reader.close())          # only now is the answer known to be whole

    Attributes:
        head: Status and fields, once they arrived.
        receipt: The verified receipt, after `close`.
        signed_receipt: The receipt as it was signed, after `close`.
    """

    __slots__ = (
        "_attestation", "_decoder", "_digest", "_filling", "_framed", "_hold_back", "_request_digest", "_sealed",
        "_trailers",
        "head", "receipt", "signed_receipt",
    )  # fmt: skip

    def __init__(
        self, sealed: SealedRequest, request_digest: bytes, attestation: AttestationResult, *, framed: bool
    ) -> None:
        self._sealed = sealed
        self._framed = framed
        self._filling = FillingRemover()
        self._request_digest = request_digest
        self._attestation = attestation
        self._decoder = ResponseDecoder()
        self._digest: ResponseDigest | None = None
        self._hold_back: DoneHoldBack | None = None
        self._trailers: tuple[Field, ...] = ()
        self.head: Head | None = None
        self.receipt: Receipt | None = None
        self.signed_receipt = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next sealed bytes and return the content that may be shown now.

        Raises:
            IncompleteAnswer: The bytes are not the answer to this request.
        """
        try:
            return self._take(self._decoder.feed(self._sealed.opener.feed(data)))
        except ChannelError as error:
            _incomplete(error)

    def close(self) -> bytes:
        """Return the rest of the content: the connection ended, the answer is whole, its receipt valid.

        Raises:
            IncompleteAnswer: The answer is cut or damaged, or has no valid receipt.
        """
        try:
            rest = self._take(self._decoder.feed(self._sealed.opener.close()))
            rest += self._take(self._decoder.close())
            self.receipt = self._verify_receipt()
        except (ChannelError, ReceiptError) as error:
            _incomplete(error)
        return rest + self._hold_back.rest() if self._hold_back else rest

    def _take(self, events: Iterable[Event]) -> bytes:
        released: list[bytes] = []
        for event in events:
            if isinstance(event, Content):
                self._verify_frame(event)
                if self._digest is not None:  # the decoder gives the head first
                    self._digest.update(event.data)
                released.append(self._show(event.data))
            elif isinstance(event, Head):
                self._begin(event)
            else:
                self._trailers = event.fields
        return released[0] if len(released) == 1 else b"".join(released)

    def _show(self, data: bytes) -> bytes:
        if self._hold_back is None:
            return data
        return self._hold_back.push(self._filling.remove(data) if self._framed else data)

    def _verify_frame(self, piece: Content) -> None:
        """Check that a stream shows only full frames, as it was asked to (`docs/spec/sizes.md` §2)."""
        if self._framed and self._hold_back is not None and len(piece.data) != FRAME_CONTENT_BYTES:
            raise IncompleteAnswer("The answer's pieces are not padded to one length, so their sizes show.")

    def _begin(self, head: Head) -> None:
        if any(value.strip().lower() != b"identity" for value in values(head.headers, b"content-encoding")):
            raise IncompleteAnswer("The answer has a content coding, which the sealed channel does not allow.")
        self.head = head
        self._digest = ResponseDigest(head.status, head.headers)
        if media_type(head.headers) == EVENT_STREAM:
            self._hold_back = DoneHoldBack()

    def _verify_receipt(self) -> Receipt:
        receipts = values(self._trailers, RECEIPT_TRAILER)
        if len(receipts) != 1 or self._digest is None:
            raise ReceiptError("the answer has no receipt, or more than one")
        material = self._attestation.material
        receipt = verify_receipt(
            receipts[0],
            receipt_key=self._attestation.receipt_key,
            exchange=exchange_digest(self._sealed.enc, self._sealed.opener.response_nonce),
            request_digest=self._request_digest,
            response_digest=self._digest.digest(),
            crypto_material_digest=self._attestation.crypto_material_digest,
            model_digest=material.model_digest,
            configuration=material.configuration,
            tee=self._attestation.tee,
        )
        self.signed_receipt = receipts[0]
        return receipt


def values(headers: Sequence[Field], name: bytes) -> list[bytes]:
    """Return the values of all fields called `name` (lower case)."""
    return [value for key, value in headers if key == name]


def media_type(headers: Sequence[Field]) -> str:
    """Return the media type of an inner message, without parameters; nothing where it is not single."""
    found = values(headers, b"content-type")
    return found[0].partition(b";")[0].strip().lower().decode("latin-1") if len(found) == 1 else ""


def _random_text(size: int) -> bytes:
    return base64.urlsafe_b64encode(secrets.token_bytes(size)).rstrip(b"=")


def _incomplete(error: Exception) -> NoReturn:
    if isinstance(error, IncompleteAnswer):
        raise error
    raise IncompleteAnswer(f"The answer is not whole: {error}") from error
