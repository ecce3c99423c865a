"""What does an opened request ask for, and may it? Steps 6 to 12 of `docs/spec/http.md` §3.

No IO here: bytes and the time come in, a checked `Call` or a `RequestRefused` comes out.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import re
from dataclasses import dataclass, field
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mitai_crypto.bhttp import decode_request
from mitai_crypto.errors import BhttpError
from mitai_crypto.labels import (
    AUTHORITY,
    CACHE_SALT_HEADER,
    CADENCE_HEADER,
    DATE_WINDOW_SECONDS,
    MAX_CADENCE_MILLISECONDS,
    MIN_CADENCE_MILLISECONDS,
    PADDING_HEADER,
    PADDING_NONE,
    REQUEST_ID_HEADER,
    SCHEME,
)
from mitai_enclave.body import parse_body, wants_stream, write_body
from mitai_enclave.errors import RequestRefused
from mitai_enclave.routes import find_route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitai_crypto.bhttp import Field, Request
    from mitai_enclave.routes import Route
    from mitai_enclave.salt import CacheSalt
    from mitai_enclave.tokens import TokenTable

REQUEST_ID_BYTES: Final = 16
_MAX_CLIENT_SALT: Final = 256
_IMF_FIXDATE: Final = re.compile(rb"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT")
_MONTHS: Final = {
    name.encode(): number
    for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)  # noqa: SIM905 - words
}
_BEARER: Final = b"bearer "
_MILLISECONDS: Final = re.compile(rb"[1-9][0-9]{0,3}")


class WrongDate(RequestRefused):
    """The request's `date` is missing, malformed or outside the window; answered as a `#date` problem."""

    def __init__(self) -> None:
        super().__init__(400, "date", "The request's date is missing or too far from this enclave's clock.")


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the device wants the sizes of the answer to be (`docs/spec/sizes.md` §4).

    Attributes:
        padded: Whether they are padded.
        cadence: Seconds between two frames of a stream; None to send each event when it comes.
    """

    padded: bool = True
    cadence: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A request that passed every check of content.

    Attributes:
        route: Where it goes.
        principal: Whose token it carries.
        request_id: The 16 bytes that name the intended execution.
        body: The document for the engine, empty for a request without one.
        stream: Whether server-sent events were asked for.
        sizes: What the answer's sizes may show.
    """

    route: Route
    principal: str
    request_id: bytes
    body: bytes = field(repr=False)
    stream: bool
    sizes: Sizes


@dataclass(frozen=True, slots=True)
class Rules:
    """What requests are checked against.

    Attributes:
        tokens: Who may ask.
        salt: Makes the engine's cache salts.
        model: The served model name.
        max_bytes: The most bytes of a body.
        harmful: Body fields that the engine does not bear.
    """

    tokens: TokenTable
    salt: CacheSalt
    model: str
    max_bytes: int
    harmful: tuple[str, ...] = ()


def decode_inner(plaintext: bytes) -> Request:
    """Decode Binary HTTP (step 6).

    Raises:
        RequestRefused: 400, it breaks the rules of `docs/spec/bhttp.md`.
    """
    try:
        return decode_request(plaintext)
    except BhttpError as error:
        raise RequestRefused(
            400, "malformed_message", f"The sealed message is no Binary HTTP request: {error}"
        ) from None


def check_request(request: Request, rules: Rules, now: float) -> Call:
    """Check a decoded request (steps 7 to 12).

    Args:
        request: The inner request.
        rules: What to check against.
        now: Unix seconds of this enclave's clock.

    Raises:
        RequestRefused: The first check that fails.
    """
    if request.scheme != SCHEME or request.authority != AUTHORITY:
        raise RequestRefused(421, "wrong_authority", f"The authority must be {AUTHORITY.decode()}; it routes nothing.")
    _verify_date(request.headers, now)
    principal = rules.tokens.principal_of(_bearer_token(request.headers))
    route = find_route(request.method, request.path)
    request_id = _request_id(request.headers)
    client_salt = _single(request.headers, CACHE_SALT_HEADER) or b""
    if len(client_salt) > _MAX_CLIENT_SALT:
        raise _bad_header(CACHE_SALT_HEADER, f"has more than {_MAX_CLIENT_SALT} bytes")
    sizes = _sizes(request.headers)
    _verify_content_fields(request, route)
    if not route.has_body:
        return Call(route, principal, request_id, b"", stream=False, sizes=sizes)
    body = parse_body(route, request.content, max_bytes=rules.max_bytes, model=rules.model, harmful=rules.harmful)
    salt = rules.salt.derive(principal, client_salt)
    return Call(route, principal, request_id, write_body(body, salt), stream=wants_stream(body), sizes=sizes)


def http_date(now: float) -> bytes:
    """Format Unix seconds as an IMF-fixdate (RFC 9110 §5.6.7)."""
    return _date_of_second(int(now))


@lru_cache(maxsize=8)  # requests of one second have one date
def _date_of_second(second: int) -> bytes:
    return format_datetime(dt.datetime.fromtimestamp(second, dt.UTC), usegmt=True).encode()


def _single(headers: Sequence[Field], name: bytes) -> bytes | None:
    values = [value for field_name, value in headers if field_name == name]
    if len(values) > 1:
        raise _bad_header(name, "occurs more than once")
    return values[0] if values else None


def _bad_header(name: bytes, rule: str) -> RequestRefused:
    text = name.decode()
    return RequestRefused(400, "invalid_header", f"The header field {text} {rule}.", param=text)


def _verify_date(headers: Sequence[Field], now: float) -> None:
    values = [value for name, value in headers if name == b"date"]
    sent = _seconds_of(values[0]) if len(values) == 1 else None
    if sent is None or http_date(sent) != values[0] or abs(sent - now) > DATE_WINDOW_SECONDS:
        raise WrongDate


def _seconds_of(date: bytes) -> int | None:
    """Return the Unix seconds of an IMF-fixdate; None where it is none, though a wrong day's name may pass."""
    match = _IMF_FIXDATE.fullmatch(date)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        moment = dt.datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=dt.UTC)
    except (KeyError, ValueError):
        return None
    return int(moment.timestamp())


def _bearer_token(headers: Sequence[Field]) -> bytes:
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1 or values[0][: len(_BEARER)].lower() != _BEARER:
        raise RequestRefused(401, "invalid_api_key", "Send one API token: authorization: Bearer TOKEN.")
    return values[0][len(_BEARER) :]


def _request_id(headers: Sequence[Field]) -> bytes:
    value = _single(headers, REQUEST_ID_HEADER)
    decoded = None if value is None else decode_base64url(value, REQUEST_ID_BYTES)
    if decoded is None:
        raise _bad_header(REQUEST_ID_HEADER, f"must be {REQUEST_ID_BYTES} bytes in base64url without padding")
    return decoded


def _sizes(headers: Sequence[Field]) -> Sizes:
    padding, cadence = _single(headers, PADDING_HEADER), _single(headers, CADENCE_HEADER)
    if padding not in {None, PADDING_NONE}:
        raise _bad_header(PADDING_HEADER, f"is {PADDING_NONE.decode()} or absent")
    if cadence is None:
        return Sizes(padded=padding is None)
    milliseconds = int(cadence) if _MILLISECONDS.fullmatch(cadence) else 0
    if padding or not MIN_CADENCE_MILLISECONDS <= milliseconds <= MAX_CADENCE_MILLISECONDS:
        rule = f"is {MIN_CADENCE_MILLISECONDS} to {MAX_CADENCE_MILLISECONDS} milliseconds, of padded answers only"
        raise _bad_header(CADENCE_HEADER, rule)
    return Sizes(cadence=milliseconds / 1000)


def decode_base64url(text: bytes, size: int) -> bytes | None:
    """Decode exactly `size` bytes from their only unpadded base64url spelling; None for anything else."""
    try:
        decoded = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(decoded) != size or base64.urlsafe_b64encode(decoded).rstrip(b"=") != text:
        return None
    return decoded


def _verify_content_fields(request: Request, route: Route) -> None:
    coding = _single(request.headers, b"content-encoding")
    if coding is not None and coding.strip().lower() != b"identity":
        raise RequestRefused(415, "unsupported_media_type", "Content codings are not accepted.")
    if not route.has_body:
        if request.content:
            raise RequestRefused(400, "invalid_value", "This path takes no body.")
        return
    media_type = _single(request.headers, b"content-type") or b""
    if media_type.split(b";")[0].strip().lower() != b"application/json":
        raise RequestRefused(415, "unsupported_media_type", "The body must be application/json.")
