"""Which control data and which fields a message may carry (`docs/spec/bhttp.md` §3).

The same rules hold for what is written and for what is read.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import MAX_CONTROL_BYTES, MAX_SECTION_BYTES, MAX_SECTION_LINES, SCHEME
from mitai_crypto.varint import encode_varint

Field: TypeAlias = tuple[bytes, bytes]  # lower-case name, value

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_AUTHORITY: Final = re.compile(rb"[\x21-\x7e]*")
_PATH: Final = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_LENGTH: Final = re.compile(rb"[0-9]{1,19}")
_CONNECTION_FIELDS: Final = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_NOT_IN_TRAILERS: Final = frozenset({b"content-length", b"host"})
_FINAL_STATUSES: Final = range(200, 600)


def check_control_data(method: bytes, scheme: bytes, authority: bytes, path: bytes) -> None:
    """Refuse control data that could mean something else once it is written as HTTP/1.1.

    Raises:
        BhttpError: If a part is malformed or over 8,192 bytes, or the scheme is not https.
    """
    if max(len(method), len(authority), len(path)) > MAX_CONTROL_BYTES:
        raise BhttpError(f"a part of the control data is over {MAX_CONTROL_BYTES} bytes")
    if not _TOKEN.fullmatch(method):
        raise BhttpError("the method is not a token")
    if scheme != SCHEME:
        raise BhttpError("the scheme is not https")
    if not _AUTHORITY.fullmatch(authority):
        raise BhttpError("the authority holds a space, a control character or a byte over 126")
    if not _PATH.fullmatch(path):
        raise BhttpError("the path does not start with a slash or holds a forbidden character")


def check_status(status: int) -> None:
    """Refuse a status that cannot end an exchange.

    Raises:
        BhttpError: If `status` is not 200–599.
    """
    if status not in _FINAL_STATUSES:
        raise BhttpError("a final status is 200 to 599")


def check_fields(fields: tuple[Field, ...], *, trailers: bool = False) -> None:
    """Refuse fields that RFC 9113 §8.2 forbids, or that would change how the message is framed.

    Raises:
        BhttpError: If a name or value is malformed, a field belongs to a connection or not into trailers, or
            the section is over its caps. Values are never quoted: they may be secret.
    """
    if len(fields) > MAX_SECTION_LINES:
        raise BhttpError(f"a field section has more than {MAX_SECTION_LINES} lines")
    size = 0
    for name, value in fields:
        size += len(name) + len(value)
        if not _NAME.fullmatch(name):
            raise BhttpError("a field name is not a lower-case token")
        if not _VALUE.fullmatch(value) or value.strip(b" \t") != value:
            raise BhttpError("a field value holds a control character or outer white space")
        if name in _CONNECTION_FIELDS:
            raise BhttpError(f"{name.decode()} belongs to a connection, not to a message")
        if trailers and name in _NOT_IN_TRAILERS:
            raise BhttpError(f"{name.decode()} is not allowed in trailers")
    if size > MAX_SECTION_BYTES:
        raise BhttpError(f"a field section is over {MAX_SECTION_BYTES} bytes")


def declared_length(headers: tuple[Field, ...]) -> int | None:
    """Return what `content-length` says, or None where it is absent.

    Raises:
        BhttpError: If it is there twice or is not a decimal number.
    """
    values = [value for name, value in headers if name == b"content-length"]
    if not values:
        return None
    if len(values) > 1 or not _LENGTH.fullmatch(values[0]):
        raise BhttpError("content-length is not one decimal number")
    return int(values[0])


def check_length(headers: tuple[Field, ...], content_bytes: int) -> None:
    """Refuse a `content-length` that disagrees with the content.

    Raises:
        BhttpError: If it is malformed or disagrees.
    """
    declared = declared_length(headers)
    if declared is not None and declared != content_bytes:
        raise BhttpError("content-length disagrees with the content")


def encode_string(value: bytes) -> bytes:
    """Return length ‖ value."""
    return encode_varint(len(value)) + value


def encode_lines(fields: tuple[Field, ...]) -> bytes:
    """Return the field lines of a section, without its length or terminator."""
    return b"".join([encode_string(part) for line in fields for part in line])


def field_names(fields: tuple[Field, ...]) -> str:
    """Return the names alone, for a `repr` that must not show values."""
    return " ".join(name.decode() for name, _ in fields)
