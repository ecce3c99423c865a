"""What does the simulated TEE answer to the code that it runs? (`docs/spec/simulated_tee.md` §3, §6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mitai_crypto.evidence import TeeKind, measurement_digest
from mitai_crypto.hashing import length_prefixed
from mitai_crypto.labels import SIMULATED_SEALING_LABEL, SIMULATED_TCB_VERSION
from mitai_crypto.simulated_log import replay
from mitai_crypto.simulated_quote import Quote, SimulatedEvidence, signed_quote
from mitai_sim.endorse import make_collateral

if TYPE_CHECKING:
    from mitai_crypto.simulated_log import Event
    from mitai_sim.root import Machine

_KEY_BYTES: Final = 32


@dataclass(frozen=True)
class Attester:
    """Quotes and seals for one launch on one machine.

    Attributes:
        machine: The simulated hardware.
        events: What was measured at launch.
    """

    machine: Machine
    events: tuple[Event, ...]

    def quote(self, report_data: bytes, *, now: int) -> tuple[bytes, bytes]:
        """Return the `evidence` and `collateral` parts of a bundle.

        Args:
            report_data: 64 bytes that the quote carries.
            now: Unix seconds, for the collateral.
        """
        signed = Quote(
            registers=replay(self.events),
            report_data=report_data,
            debug=False,
            migratable=False,
            tcb=SIMULATED_TCB_VERSION,
            chip_id=self.machine.chip_id,
        )
        body = signed.encode()
        signature = self.machine.platform_key.sign(signed_quote(body))
        evidence = SimulatedEvidence(signed, body, signature, self.events)
        collateral = make_collateral(self.machine.root, self.machine.platform, now=now)
        return evidence.encode(), collateral.encode()

    def sealing_key(self, label: str) -> bytes:
        """Derive 32 bytes that only this measurement on this machine can have again."""
        measurement = bytes.fromhex(measurement_digest(TeeKind.SIMULATED, replay(self.events)))
        info = SIMULATED_SEALING_LABEL + b"\0" + length_prefixed(measurement) + length_prefixed(label.encode())
        return HKDF(SHA256(), _KEY_BYTES, salt=None, info=info).derive(self.machine.sealing_secret)
