"""How does a worker get to be a part of its replica? The keeper packs what it needs, the worker unpacks it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_crypto.policy import EngineKind
from mitai_enclave.address import LoopbackAddress, UnixAddress
from mitai_enclave.attestation import Identity
from mitai_enclave.errors import ChannelBroken
from mitai_enclave.gateway import Gateway
from mitai_enclave.inner import Rules
from mitai_enclave.messages import Endpoint, Welcome
from mitai_enclave.salt import CacheSalt
from mitai_enclave.tokens import TokenTable
from mitai_enclave.unseal import Unsealer

if TYPE_CHECKING:
    from mitai_enclave.address import EngineAddress
    from mitai_enclave.config import Limits
    from mitai_enclave.keeper_client import KeeperClient
    from mitai_enclave.tracing import Tracing


def share_of_reading(limits: Limits, workers: int) -> int:
    """Return how many reading slots each worker has for itself: half of them are dealt out, the rest is the reserve."""
    return limits.reading // (2 * workers)


def make_welcome(
    identity: Identity,
    *,
    tokens: TokenTable,
    limits: Limits,
    engine: EngineAddress,
    salt_secret: bytes,
    harmful: tuple[str, ...],
    otlp: str | None,
    workers: int,
) -> Welcome:
    """Pack everything that a worker needs to know.

    Args:
        identity: Who the replica is, and its receipt key.
        tokens: Who may ask.
        limits: The caps of the replica.
        engine: Where requests go.
        salt_secret: The boot secret of the cache salts.
        harmful: Body fields that the engine does not bear.
        otlp: Where traces go; None for nowhere.
        workers: How many there are.
    """
    return Welcome(
        served_name=identity.model_name,
        tokens=tokens.tokens,
        limits=limits,
        engine=_endpoint(engine),
        tee=identity.tee,
        receipt_key=identity.receipt_key.private_bytes_raw(),
        engine_kind=identity.engine,
        model_digest=identity.model_digest,
        configuration=identity.configuration,
        salt_secret=salt_secret,
        harmful=harmful,
        otlp=otlp,
        reading_share=share_of_reading(limits, workers),
    )


def gateway_of(welcome: Welcome, keeper: KeeperClient, tracing: Tracing) -> Gateway:
    """Build what a worker serves.

    Raises:
        ChannelBroken: The welcome makes no sense.
    """
    if welcome.engine_kind not in get_args(EngineKind):
        raise ChannelBroken("The welcome names no kind of engine that there is.")
    identity = Identity(
        tee=welcome.tee,
        receipt_key=Ed25519PrivateKey.from_private_bytes(welcome.receipt_key),
        engine=cast("EngineKind", welcome.engine_kind),
        model_name=welcome.served_name,
        model_digest=welcome.model_digest,
        configuration=welcome.configuration,
    )
    tokens, salt = TokenTable(welcome.tokens), CacheSalt(welcome.salt_secret)
    unsealer = Unsealer(
        replica=keeper,
        engine=_address(welcome.engine),
        identity=identity,
        rules=Rules(tokens, salt, welcome.served_name, welcome.limits.request_bytes, welcome.harmful),
        limits=welcome.limits,
        metrics=keeper,
        tracing=tracing,
    )
    return Gateway(unsealer=unsealer, replica=keeper, metrics=keeper)


def _endpoint(address: EngineAddress) -> Endpoint:
    if isinstance(address, UnixAddress):
        return Endpoint(str(address.path), None, None)
    return Endpoint(None, address.host, address.port)


def _address(endpoint: Endpoint) -> EngineAddress:
    if endpoint.path is not None:
        return UnixAddress(Path(endpoint.path))
    if endpoint.host is None or endpoint.port is None:
        raise ChannelBroken("The welcome names no engine.")
    return LoopbackAddress(endpoint.host, endpoint.port)
