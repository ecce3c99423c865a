"""Binary HTTP messages (RFC 9292): the plaintext inside a sealed message. Spec: `docs/spec/bhttp.md`.

    data = encode_request(Request(b"POST", b"https", b"mitai.invalid", b"/v1/completions", headers, body))
    assert decode_request(data).content == body

Values are checked when they are made, so one that exists can be sent, and one that was decoded is valid.
Streaming responses are in `bhttp_stream`; its names are exported here too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mitai_crypto.bhttp_cursor import Cursor, Incomplete
from mitai_crypto.bhttp_fields import (
    Field,
    check_control_data,
    check_fields,
    check_length,
    check_status,
    encode_lines,
    encode_string,
    field_names,
)
from mitai_crypto.bhttp_stream import Content, Event, Head, ResponseDecoder, ResponseEncoder, Trailers
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTENT_PIECES
from mitai_crypto.varint import encode_varint

__all__ = [
    "Content",
    "Event",
    "Field",
    "Head",
    "Request",
    "Response",
    "ResponseDecoder",
    "ResponseEncoder",
    "Trailers",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
]

_KNOWN_REQUEST: Final = 0
_KNOWN_RESPONSE: Final = 1
_INDETERMINATE_REQUEST: Final = 2


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """An HTTP request; its `repr` shows neither content nor field values.

    Attributes:
        method: An RFC 9110 token.
        scheme: Always `https`.
        authority: Host and port; routes nothing here.
        path: Path and query.
        headers: Lower-case names with their values.
        content: The body.

    Raises:
        BhttpError: If a part breaks `docs/spec/bhttp.md` §3.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: tuple[Field, ...] = ()
    content: bytes = b""

    def __post_init__(self) -> None:
        check_control_data(self.method, self.scheme, self.authority, self.path)
        check_fields(self.headers)
        check_length(self.headers, len(self.content))

    def __repr__(self) -> str:
        path = self.path.partition(b"?")[0].decode()
        return f"<Request {self.method.decode()} {path} [{field_names(self.headers)}] {len(self.content)} bytes>"


@dataclass(frozen=True, slots=True, repr=False)
class Response:
    """A final HTTP response; its `repr` shows neither content nor field values.

    Attributes:
        status: 200–599.
        headers: Lower-case names with their values.
        content: The body.
        trailers: Fields that came after the body.

    Raises:
        BhttpError: If a part breaks `docs/spec/bhttp.md` §3.
    """

    status: int
    headers: tuple[Field, ...] = ()
    content: bytes = b""
    trailers: tuple[Field, ...] = ()

    def __post_init__(self) -> None:
        check_status(self.status)
        check_fields(self.headers)
        check_fields(self.trailers, trailers=True)
        check_length(self.headers, len(self.content))

    def __repr__(self) -> str:
        return f"<Response {self.status} [{field_names(self.headers)}] {len(self.content)} bytes>"


def encode_request(request: Request, *, padding: int = 0) -> bytes:
    """Encode a request in known-length framing, followed by `padding` zero bytes."""
    control = (request.method, request.scheme, request.authority, request.path)
    parts = (*control, encode_lines(request.headers), request.content, b"")
    return bytes([_KNOWN_REQUEST]) + b"".join([encode_string(part) for part in parts]) + bytes(padding)


def encode_response(response: Response, *, padding: int = 0) -> bytes:
    """Encode a response in known-length framing, followed by `padding` zero bytes."""
    parts = (encode_lines(response.headers), response.content, encode_lines(response.trailers))
    head = bytes([_KNOWN_RESPONSE]) + encode_varint(response.status)
    return head + b"".join([encode_string(part) for part in parts]) + bytes(padding)


def decode_request(data: bytes) -> Request:
    """Decode a whole request in either framing.

    Raises:
        BhttpError: If it is malformed, cut short, has trailers or breaks `docs/spec/bhttp.md` §3.
    """
    cursor = Cursor(data, complete=True)
    try:
        framing = cursor.varint()
        if framing not in {_KNOWN_REQUEST, _INDETERMINATE_REQUEST}:
            raise BhttpError("not a Binary HTTP request")
        known = framing == _KNOWN_REQUEST
        method, scheme, authority, path = [cursor.string() for _ in range(4)]
        headers = cursor.section(known_length=known)
        content = _read_content(cursor, known_length=known)
        trailers = cursor.section(known_length=known)
    except Incomplete as error:
        raise BhttpError(str(error)) from None
    if trailers:
        raise BhttpError("a request has no trailers here")
    if cursor.rest().strip(b"\x00"):
        raise BhttpError("the padding is not all zero")
    return Request(method, scheme, authority, path, headers, content)


def _read_content(cursor: Cursor, *, known_length: bool) -> bytes:
    """Read the whole content; where it was left out it is empty."""
    if cursor.is_omitted:
        return b""
    if known_length:
        return cursor.take(cursor.varint())
    pieces: list[bytes] = []
    while length := cursor.varint():
        if len(pieces) == MAX_CONTENT_PIECES:
            raise BhttpError("the content is cut into too many pieces")
        pieces.append(cursor.take(length))
    return b"".join(pieces)


def decode_response(data: bytes) -> Response:
    """Decode a whole response in either framing; informational responses before it are dropped.

    Raises:
        BhttpError: If it is malformed, cut short or breaks `docs/spec/bhttp.md` §3.
    """
    decoder = ResponseDecoder()
    events = [*decoder.feed(data), *decoder.close()]
    heads = [event for event in events if isinstance(event, Head)]
    content = b"".join(event.data for event in events if isinstance(event, Content))
    trailers = [event.fields for event in events if isinstance(event, Trailers)]
    return Response(heads[0].status, heads[0].headers, content, trailers[0])
