"""What is one start of the sidecar made of? Keys and secrets there are once, and who serves with them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mitai_enclave.attestation import EvidenceSource, Identity, TokenBucket
from mitai_enclave.config import configuration_digest
from mitai_enclave.epochs import KeyEpochs
from mitai_enclave.gateway import Gateway
from mitai_enclave.inner import Rules
from mitai_enclave.keeper import WorkerSession
from mitai_enclave.listen import bound_sending
from mitai_enclave.replica import LocalReplica
from mitai_enclave.salt import SECRET_BYTES, CacheSalt
from mitai_enclave.unseal import Unsealer
from mitai_enclave.welcome import make_welcome, share_of_reading
from mitai_enclave.workers import WorkerPool

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from mitai_enclave.config import Settings
    from mitai_enclave.engine import Engine
    from mitai_enclave.metrics import Metrics
    from mitai_enclave.tee.quote import Attester
    from mitai_enclave.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is one of in a replica, whatever the number of its processes.

    Attributes:
        identity: What evidence and receipts say.
        replica: Keys, slots, admission, evidence.
        salt_secret: The boot secret of the cache salts.
    """

    identity: Identity
    replica: LocalReplica
    salt_secret: bytes = field(repr=False)

    def gateway(self, settings: Settings, engine: Engine, metrics: Metrics, tracing: Tracing) -> Gateway:
        """Build what this process serves where it serves alone."""
        limits = settings.limits
        unsealer = Unsealer(
            replica=self.replica,
            engine=engine.address,
            identity=self.identity,
            rules=Rules(
                settings.tokens,
                CacheSalt(self.salt_secret),
                settings.served_name,
                limits.request_bytes,
                settings.harmful_fields,
            ),
            limits=limits,
            metrics=metrics,
            tracing=tracing,
        )
        return Gateway(unsealer=unsealer, replica=self.replica, metrics=metrics)

    def pool(
        self, settings: Settings, engine: Engine, metrics: Metrics, listeners: list[socket.socket], folder: Path
    ) -> WorkerPool:
        """Build the workers that serve in its place."""
        welcome = make_welcome(
            self.identity,
            tokens=settings.tokens,
            limits=settings.limits,
            engine=engine.address,
            salt_secret=self.salt_secret,
            harmful=settings.harmful_fields,
            otlp=settings.otlp,
            workers=settings.workers,
        )
        return WorkerPool(
            listeners,
            partial(WorkerSession, self.replica, metrics, welcome),
            prepare_listener=partial(bound_sending, seconds=settings.limits.send_seconds),
            folder=folder,
        )


def build_parts(settings: Settings, attester: Attester, engine: Engine, model_digest: str | None) -> Parts:
    """Make the keys and secrets of one start.

    Args:
        settings: What the operator chose.
        attester: Gives the quotes.
        engine: Whose health decides.
        model_digest: Hex; None for an external engine.
    """
    limits = settings.limits
    identity = Identity(
        tee=attester.kind,
        receipt_key=Ed25519PrivateKey.generate(),
        engine=settings.engine_kind,
        model_name=settings.served_name,
        model_digest=model_digest,
        configuration=configuration_digest(settings),
    )
    epochs = KeyEpochs(
        kems=settings.kems,
        rotation=limits.rotation_seconds,
        capacity=limits.replay_capacity,
        describe=identity.describe,
        prefix=settings.key_prefix,
    )
    dealt_out = 0 if settings.workers == 1 else settings.workers * share_of_reading(limits, settings.workers)
    replica = LocalReplica(
        epochs=epochs,
        engine=engine,
        evidence=EvidenceSource(attester, epochs),
        bucket=TokenBucket(limits.attestations_per_second, limits.attestations_burst),
        reading=limits.reading - dealt_out,
        running=limits.running,
    )
    return Parts(identity, replica, secrets.token_bytes(SECRET_BYTES))
