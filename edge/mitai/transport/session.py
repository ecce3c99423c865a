"""What this client believes about one enclave, and for how long: verified evidence, fetched once for all.

Spec: `docs/spec/client.md` §3.
"""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from mitai.errors import EnclaveUnreachable, TruncatedMessage
from mitai.transport.wire import OuterRequest, Timeouts
from mitai_crypto.labels import ATTESTATION_PATH, MAX_BUNDLE_BYTES, NONCE_BYTES
from mitai_crypto.saved_evidence import SavedEvidence
from mitai_crypto.verify import verify_evidence

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from mitai.transport.wire import OuterAnswer, Wire
    from mitai_crypto.ohttp import KeyConfig
    from mitai_crypto.policy import TrustPolicy
    from mitai_crypto.verify import AttestationResult

_OK: Final = 200


@dataclass(frozen=True)
class Verified:
    """An enclave that passed, and the key to seal to.

    Attributes:
        attestation: What was verified.
        config: The enclave's current key.
        deadline: When it must not be used any more, by the monotonic clock.
        evidence: What it showed, exactly.
    """

    attestation: AttestationResult
    config: KeyConfig
    deadline: float
    evidence: SavedEvidence


class Session:
    """Verified evidence of one enclave under one policy, shared by all requests of one client.

    Args:
        url: Where the enclave answers, ``http`` or ``https``; a path in it is a prefix.
        policy: What an enclave must prove.
        gate: The lock that makes refreshing single-flight, for threads or for tasks.
        clock: Gives Unix time.
        monotonic: Gives a time that nobody can set back.

    Attributes:
        url: As given, without a slash at its end.
        clock: As given.
        evidence: The latest that was fetched, verified or not.

    Raises:
        EnclaveUnreachable: `url` is not a usable address.
    """

    def __init__(
        self,
        url: str,
        policy: TrustPolicy,
        *,
        gate: AbstractAsyncContextManager[object],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url: Final = checked_url(url)
        self.clock: Final = clock
        self._policy = policy
        self._gate = gate
        self._monotonic = monotonic
        self._kept: Verified | None = None
        self.evidence: SavedEvidence | None = None

    def current(self) -> Verified | None:
        """Return the kept enclave while it may be used."""
        kept = self._kept
        if kept is None or self._monotonic() >= kept.deadline or self.clock() >= kept.attestation.usable_until:
            return None
        return kept

    async def verified(self, wire: Wire, *, timeouts: Timeouts, replace: Verified | None = None) -> Verified:
        """Return a verified enclave; evidence is fetched where none is kept.

        Args:
            wire: Reaches the enclave.
            timeouts: For the request, should one be needed.
            replace: What turned out to be of no use; it is not returned again.

        Raises:
            EnclaveUnreachable: There is no evidence to be had.
            VerificationFailed: The evidence does not pass; nothing of it is kept.
        """
        kept = self.current()
        if kept is not None and kept is not replace:
            return kept
        async with self._gate:
            kept = self.current()  # somebody else may have fetched it meanwhile
            if kept is not None and kept is not replace:
                return kept
            return await self._refresh(wire, timeouts)

    async def _refresh(self, wire: Wire, timeouts: Timeouts) -> Verified:
        self._kept = None
        asked = self._monotonic()
        self.evidence = evidence = await fetch_evidence(wire, self.url, timeouts=timeouts, clock=self.clock)
        now = evidence.time
        result = verify_evidence(evidence.bundle, nonce=evidence.nonce, policy=self._policy, now=now)
        config = result.key_config(now)
        self._kept = Verified(result, config, asked + (result.usable_until - now), evidence)
        return self._kept


async def fetch_evidence(wire: Wire, url: str, *, timeouts: Timeouts, clock: Callable[[], float]) -> SavedEvidence:
    """Ask an enclave for evidence with a fresh nonce; nothing of it is verified.

    Raises:
        EnclaveUnreachable: There is none to be had.
    """
    nonce = secrets.token_bytes(NONCE_BYTES)
    query = base64.urlsafe_b64encode(nonce).rstrip(b"=").decode("ascii")
    request = OuterRequest(
        method="GET",
        target=f"{ATTESTATION_PATH}?nonce={query}",
        headers=(("accept", "application/json"), ("accept-encoding", "identity")),
        timeouts=timeouts,
    )
    answer = await wire.send(request)
    try:
        bundle = await _read_bundle(answer, url)
    except TruncatedMessage as error:
        raise EnclaveUnreachable(f"{url} broke off while it sent its evidence.") from error
    finally:
        await answer.close()
    return SavedEvidence(url, int(clock()), nonce, bundle)


async def _read_bundle(answer: OuterAnswer, url: str) -> bytes:
    if answer.status != _OK or is_coded(answer):
        raise EnclaveUnreachable(
            f"{url} serves no evidence (status {answer.status}).",
            hint="Check that the address is a Mitai enclave with a healthy engine; nothing was sent.",
        )
    return await read_at_most(answer, MAX_BUNDLE_BYTES, f"{url} sends more evidence than is allowed.")


async def read_at_most(answer: OuterAnswer, limit: int, message: str) -> bytes:
    """Return a whole body of at most `limit` bytes.

    Raises:
        EnclaveUnreachable: With `message`; the body is longer.
        TruncatedMessage: The connection broke.
    """
    body = bytearray()
    while piece := await answer.read():
        body += piece
        if len(body) > limit:
            raise EnclaveUnreachable(message)
    return bytes(body)


def is_coded(answer: OuterAnswer) -> bool:
    """Return whether the outer answer names a content coding other than identity."""
    return any(value.lower() not in {"", "identity"} for value in answer.header("content-encoding"))


def checked_url(url: str) -> str:
    """Return `url` without a slash at its end.

    Raises:
        EnclaveUnreachable: It is not an ``http`` or ``https`` address, or has a user, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna")  # UnicodeError, a ValueError, for an empty or overlong label
    except ValueError:
        usable = False
    else:
        usable = usable and not (parts.username or parts.password or parts.query or parts.fragment)
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise EnclaveUnreachable(
            "The enclave's address is not an http or https URL.",
            hint="It looks like https://enclave.example:8443; nothing was sent.",
        )
    return url.rstrip("/")
