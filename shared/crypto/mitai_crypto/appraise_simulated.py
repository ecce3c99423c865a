"""Which rules does simulated evidence have to satisfy? (steps 3–8 and 13 of `docs/spec/verification.md`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitai_crypto.appraisal import needed
from mitai_crypto.errors import EvidenceError
from mitai_crypto.evidence import TeeKind
from mitai_crypto.simulated_collateral import UP_TO_DATE, verify_chain, verify_tcb_status
from mitai_crypto.simulated_log import REGISTER_MEANING, replay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mitai_crypto.policy import Reference, TrustPolicy
    from mitai_crypto.simulated_collateral import Collateral, Endorsement
    from mitai_crypto.simulated_quote import Quote, SimulatedEvidence

_NO_QUOTE = "there is no readable quote (step 1)"
_NO_COLLATERAL = "there is no readable collateral (step 1)"
_NO_CHAIN = "no root vouches for this platform (step 3)"
_SHOWN = 16  # hex digits of a register in a reason


class SimulatedAppraiser:
    """Judges simulated evidence; implements `mitai_crypto.appraisal.KindAppraiser`.

    Args:
        evidence: As parsed; None where it could not be.
        collateral: As parsed; None where it could not be.
    """

    def __init__(self, evidence: SimulatedEvidence | None, collateral: Collateral | None) -> None:
        self._evidence = evidence
        self._collateral = collateral
        self._endorsement: Endorsement | None = None
        self.registers: Mapping[str, str] | None = None if evidence is None else evidence.quote.registers
        self.reference: Reference | None = None
        self.next_update: int | None = None

    def chain(self, policy: TrustPolicy, now: int) -> str:
        """Step 3: the pinned root vouches for the platform key, which is not revoked."""
        collateral = needed(self._collateral, _NO_COLLATERAL)
        if policy.root is None:
            raise EvidenceError("the policy pins no simulated root: simulated evidence proves nothing to it")
        self._endorsement = verify_chain(collateral, fingerprint=policy.root, now=now)
        return f"SIMULATED root {policy.root[:_SHOWN]}… vouches for the platform, which is not revoked"

    def signature(self) -> str:
        """Step 4: the platform key signed the quote."""
        evidence = needed(self._evidence, _NO_QUOTE)
        evidence.verify_signature(needed(self._endorsement, _NO_CHAIN).platform_key)
        return "the platform key signed the quote"

    def tcb_status(self, now: int) -> str:
        """Step 5: the root calls the certificate's TCB version up to date, and the quote agrees with it."""
        endorsement = needed(self._endorsement, _NO_CHAIN)
        collateral = needed(self._collateral, _NO_COLLATERAL)
        status = verify_tcb_status(collateral, endorsement, now=now)
        if status != UP_TO_DATE:
            raise EvidenceError(f"TCB version {endorsement.tcb} is {status}, only {UP_TO_DATE} is accepted")
        quote = self._quote()
        if (quote.tcb, quote.chip_id) != (endorsement.tcb, endorsement.chip_id):
            raise EvidenceError("TCB version or chip id in the quote are not those of the certificate")
        self.next_update = min(endorsement.next_update, collateral.tcb_status.next_update)
        return f"TCB version {endorsement.tcb} is {status}"

    def debug(self) -> str:
        """Step 6: neither debuggable nor migratable."""
        quote = self._quote()
        if quote.debug:
            raise EvidenceError("the enclave is debuggable: its memory can be read from outside")
        if quote.migratable:
            raise EvidenceError("the enclave is migratable: it can be moved to another machine")
        return "neither debuggable nor migratable"

    def measurement(self, policy: TrustPolicy, now: int) -> str:
        """Step 7: the event log gives the registers, and a reference value has the same."""
        evidence = needed(self._evidence, _NO_QUOTE)
        registers = evidence.quote.registers
        if wrong := _differing(replay(evidence.events), registers):
            raise EvidenceError(f"the event log does not give the quote's {', '.join(wrong)}")
        references = [item for item in policy.references if item.tee is TeeKind.SIMULATED]
        matching = [item for item in references if item.registers == registers]
        if not matching:
            raise EvidenceError(_describe_mismatch(registers, references))
        current = [item for item in matching if item.expires is None or now < item.expires]
        self.reference = (current or matching)[0]
        return f"all registers are those of reference value {self.reference.name!r}"

    def report_data(self) -> bytes:
        """For step 8: the 64 bytes in the quote."""
        return self._quote().report_data

    def chip_id(self) -> str:
        """For step 13: the chip id in the platform certificate."""
        return needed(self._endorsement, _NO_CHAIN).chip_id

    def _quote(self) -> Quote:
        return needed(self._evidence, _NO_QUOTE).quote


def _differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [name for name in one if one[name] != other[name]]


def _describe_mismatch(registers: Mapping[str, str], references: list[Reference]) -> str:
    if not references:
        return "the policy has no reference value for simulated evidence"
    nearest = min(references, key=lambda item: len(_differing(registers, item.registers)))
    details = [
        f"{name} ({REGISTER_MEANING[name]}) is {registers[name][:_SHOWN]}…, not {nearest.registers[name][:_SHOWN]}…"
        for name in _differing(registers, nearest.registers)
    ]
    return f"no reference value matches; nearest {nearest.name!r}: {'; '.join(details)}"
