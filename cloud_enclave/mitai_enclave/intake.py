"""Does a request open, within its bounds? Steps 1 to 5 of `docs/spec/http.md` §3, all on public bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from mitai_crypto.errors import ChannelError
from mitai_crypto.labels import MEDIA_TYPE_PLAIN_REQUEST, MEDIA_TYPE_REQUEST
from mitai_crypto.ohttp import PlainRequestOpener, RequestOpener
from mitai_enclave import problems
from mitai_enclave.asgi import header_values
from mitai_enclave.errors import ClientGone
from mitai_enclave.problems import PublicRefusal

if TYPE_CHECKING:
    from mitai_crypto.ohttp import OpenedRequest
    from mitai_enclave.asgi import Receive, Scope
    from mitai_enclave.config import Limits

_OPENERS: Final[dict[bytes, type[RequestOpener]]] = {
    MEDIA_TYPE_REQUEST.encode(): RequestOpener,
    MEDIA_TYPE_PLAIN_REQUEST.encode(): PlainRequestOpener,
}


def verify_envelope(scope: Scope, max_bytes: int) -> type[RequestOpener]:
    """Check method, media type and declared length.

    Returns:
        What opens a message of this media type.

    Raises:
        PublicRefusal: 405, 415 or 413.
    """
    if scope["method"] != "POST":
        raise PublicRefusal(problems.POST_ONLY)
    codings = header_values(scope, b"content-encoding")
    kinds = header_values(scope, b"content-type")
    opener = _OPENERS.get(kinds[0]) if len(kinds) == 1 else None
    if opener is None or codings not in ([], [b"identity"]):
        raise PublicRefusal(problems.NOT_SEALED)
    declared = header_values(scope, b"content-length")
    # The HTTP parser has refused lengths that are no numbers or disagree.
    if declared and int(declared[0]) > max_bytes:
        raise PublicRefusal(problems.TOO_LARGE)
    return opener


async def read_request(receive: Receive, fresh: RequestOpener, limits: Limits) -> OpenedRequest:
    """Read the whole body and open it.

    It is read to its end also when it is already known not to open: the time of the answer shows nothing.

    Args:
        receive: ASGI's receive.
        fresh: Opens it; of the kind that `verify_envelope` returned.
        limits: Size and time that a request may take.

    Raises:
        PublicRefusal: The constant 400, 408 or 413.
        ClientGone: The client broke off.
    """
    opener: RequestOpener | None = fresh
    try:
        async with asyncio.timeout(limits.request_seconds):
            total, more = 0, True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGone("The client broke off its request.")
                data = cast("bytes", message.get("body", b""))
                more = bool(message.get("more_body", False))
                total += len(data)
                if total > limits.request_bytes:
                    raise PublicRefusal(problems.TOO_LARGE)
                opener = _feed(opener, data)
        if opener is None:
            raise PublicRefusal(problems.UNOPENED)
        return opener.close()
    except TimeoutError:
        raise PublicRefusal(problems.TOO_SLOW) from None
    except ChannelError:
        raise PublicRefusal(problems.UNOPENED) from None


def _feed(opener: RequestOpener | None, data: bytes) -> RequestOpener | None:
    """Feed `data` on, and drop the opener with the first thing that does not open."""
    if opener is not None and data:
        try:
            opener.feed(data)
        except ChannelError:
            return None
    return opener
