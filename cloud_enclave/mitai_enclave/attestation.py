"""What does this enclave show to whoever wants to verify it? (`docs/spec/evidence.md`)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitai_crypto.crypto_material import CryptoMaterial
from mitai_crypto.evidence import EvidenceBundle, TeeKind, report_data

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from mitai_crypto.crypto_material import PublishedKey
    from mitai_crypto.policy import EngineKind
    from mitai_enclave.epochs import KeyEpochs
    from mitai_enclave.tee.quote import Attester


@dataclass(frozen=True, slots=True)
class Identity:
    """What stays the same for one start of the enclave.

    Attributes:
        tee: The evidence kind.
        receipt_key: Signs receipts; lives for one start.
        engine: `vllm` or `external`.
        model_name: The served name.
        model_digest: Hex; None for an external engine.
        configuration: Configuration digest, hex.
    """

    tee: TeeKind
    receipt_key: Ed25519PrivateKey
    engine: EngineKind
    model_name: str
    model_digest: str | None
    configuration: str

    def describe(self, keys: tuple[PublishedKey, ...]) -> bytes:
        """Return the exact bytes of `crypto_material` that publish `keys`."""
        return CryptoMaterial(
            mode="simulated" if self.tee is TeeKind.SIMULATED else "production",
            keys=keys,
            receipt_key=self.receipt_key.public_key().public_bytes_raw(),
            engine=self.engine,
            model_name=self.model_name,
            model_digest=self.model_digest,
            configuration=self.configuration,
        ).encode()

    def __repr__(self) -> str:
        return f"<Identity {self.tee.value} {self.engine} {self.model_name}>"


class EvidenceSource:
    """Answers nonces with evidence bundles.

    Args:
        attester: Gives the quotes.
        epochs: Whose current `crypto_material` is shown.
    """

    def __init__(self, attester: Attester, epochs: KeyEpochs) -> None:
        self._attester = attester
        self._epochs = epochs
        self._one_at_a_time = asyncio.Lock()

    async def bundle(self, nonce: bytes) -> bytes:
        """Return an encoded bundle for a nonce of 32 bytes.

        Raises:
            TeeUnavailable: There is no quote to be had now.
        """
        async with self._one_at_a_time:
            # Read under the lock: waiting for it must not outlast the keys.
            material = self._epochs.current.material
            quote = await asyncio.to_thread(self._attester.quote, report_data(nonce, material, b""))
        return EvidenceBundle(
            tee=self._attester.kind,
            crypto_material=material,
            device_evidence=b"",
            evidence=quote.evidence,
            collateral=quote.collateral,
        ).encode()


class TokenBucket:
    """Room for `rate` events a second, `burst` at once.

    Args:
        rate: Events a second.
        burst: The most that can be saved up.
        clock: Monotonic seconds.
    """

    def __init__(self, rate: float, burst: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._level = burst
        self._seen = clock()

    def take(self) -> bool:
        """Take room for one event; False when there is none."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._seen) * self._rate)
        self._seen = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
