"""Ready-made `httpx2` clients over the sealed transports: one argument makes the `openai` client confidential.

    client = openai.OpenAI(http_client=mitai.sealed_client(url, policy=policy, token=token), api_key="unused")

Spec: `docs/spec/serve.md` §9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx2

from mitai.errors import EnclaveUnreachable, SecretUnavailable
from mitai.padding import PADDED
from mitai.transport._httpx2 import AsyncSealedTransport, SealedTransport
from mitai_crypto.labels import AUTHORITY, SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai.disclosure import Outgoing
    from mitai.padding import Padding
    from mitai_crypto.policy import TrustPolicy

SILENCE_SECONDS: Final = 600.0  # between two pieces of an answer; a long prompt is silent for long
CONNECT_SECONDS: Final = 10.0
ROUTE_PREFIX: Final = b"/v1/"
_PLACEHOLDER: Final = f"{SCHEME.decode()}://{AUTHORITY.decode()}"  # routes nothing; the transport knows the address


def sealed_client(
    url: str,
    *,
    policy: TrustPolicy,
    token: str,
    timeout: float = SILENCE_SECONDS,
    before_send: Callable[[Outgoing], None] | None = None,
    padding: Padding = PADDED,
    transport: httpx2.BaseTransport | None = None,
) -> httpx2.Client:
    """Make an HTTP client whose every request goes sealed to one verified enclave.

        with mitai.sealed_client(url, policy=policy, token=token) as http_client:
            client = openai.OpenAI(http_client=http_client, api_key="unused")

    Host, API key and proxies that the program or its environment name for other services have no effect on it:
    nothing goes anywhere but sealed to `url`. It follows no redirect, and resends only what
    `docs/spec/client.md` §5 names.

    Args:
        url: Where the enclave answers.
        policy: What it must prove.
        token: The access token.
        timeout: Seconds of silence after which an answer counts as broken off.
        before_send: Is shown everything before it leaves; if it raises, nothing leaves.
        padding: What the sizes on the wire may show.
        transport: Carries the sealed bytes; for proxies, certificates and sockets.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
        SecretUnavailable: `token` is empty.
    """
    sealed = SealedTransport(
        url, policy=policy, token=_checked_token(token), before_send=before_send, padding=padding, transport=transport
    )
    return httpx2.Client(
        base_url=_PLACEHOLDER,
        transport=sealed,
        timeout=_timeouts(timeout),
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [_check_route]},
    )


def async_sealed_client(
    url: str,
    *,
    policy: TrustPolicy,
    token: str,
    timeout: float = SILENCE_SECONDS,
    before_send: Callable[[Outgoing], None] | None = None,
    padding: Padding = PADDED,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """Make the asynchronous client; arguments and errors are those of `sealed_client`.

    async with mitai.async_sealed_client(url, policy=policy, token=token) as http_client:
        client = openai.AsyncOpenAI(http_client=http_client, api_key="unused")
    """
    sealed = AsyncSealedTransport(
        url, policy=policy, token=_checked_token(token), before_send=before_send, padding=padding, transport=transport
    )
    return httpx2.AsyncClient(
        base_url=_PLACEHOLDER,
        transport=sealed,
        timeout=_timeouts(timeout),
        trust_env=False,
        follow_redirects=False,
        event_hooks={"request": [_check_route_async]},
    )


def _timeouts(silence: float) -> httpx2.Timeout:
    return httpx2.Timeout(silence, connect=CONNECT_SECONDS)


def _checked_token(token: str) -> str:
    if not token.strip():
        raise SecretUnavailable(
            "the access token is empty", hint="Pass the enclave's token as token=…; api_key is not used."
        )
    return token


def _check_route(request: httpx2.Request) -> None:
    """Refuse a path that no enclave serves: of all mistakes with `base_url` the one that would show late."""
    if not request.url.raw_path.startswith(ROUTE_PREFIX):
        raise EnclaveUnreachable(
            "The path of this request does not begin with /v1/, and an enclave serves no other.",
            hint='Leave base_url out, or end it in /v1: base_url="https://mitai.invalid/v1"; nothing was sent.',
        )


async def _check_route_async(request: httpx2.Request) -> None:
    _check_route(request)
