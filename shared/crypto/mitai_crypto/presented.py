"""Which parts of a bundle can be read at all? (step 1 of `docs/spec/verification.md`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeVar

from mitai_crypto.appraisal import NotChecked
from mitai_crypto.appraise_simulated import SimulatedAppraiser
from mitai_crypto.crypto_material import CryptoMaterial, parse_crypto_material
from mitai_crypto.errors import AttestationError, EvidenceError
from mitai_crypto.evidence import EvidenceBundle, TeeKind, parse_bundle
from mitai_crypto.simulated_collateral import parse_collateral
from mitai_crypto.simulated_quote import parse_evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mitai_crypto.appraisal import KindAppraiser
    from mitai_crypto.policy import Reference, TrustPolicy

T = TypeVar("T")


@dataclass(frozen=True)
class Presented:
    """What an enclave showed, part by part; nothing of it is verified.

    Attributes:
        bundle: None where the box itself cannot be read.
        material: None where it cannot be read.
        kind: Judges evidence and collateral.
        problems: What is wrong with the form of any part.
    """

    bundle: EvidenceBundle | None
    material: CryptoMaterial | None
    kind: KindAppraiser
    problems: tuple[str, ...]

    def well_formed(self) -> str:
        """Step 1: every part follows its specification."""
        if self.problems:
            raise EvidenceError("; ".join(self.problems))
        return "bundle, crypto material, evidence and collateral are well-formed"


class UnknownKind:
    """Stands for evidence that cannot be judged; implements `mitai_crypto.appraisal.KindAppraiser`.

    Args:
        tee: The kind, or None where the bundle could not be read.
    """

    def __init__(self, tee: TeeKind | None) -> None:
        self._tee = tee
        self.registers: Mapping[str, str] | None = None
        self.reference: Reference | None = None
        self.next_update: int | None = None

    def chain(self, _policy: TrustPolicy, _now: int) -> str:
        """Step 3 fails for a kind that is known but not supported."""
        if self._tee is None:
            self._not_checked()
        raise EvidenceError(f"{self._tee} evidence is not supported yet")

    def signature(self) -> str:
        """Step 4 has nothing to look at."""
        self._not_checked()

    def tcb_status(self, _now: int) -> str:
        """Step 5 has nothing to look at."""
        self._not_checked()

    def debug(self) -> str:
        """Step 6 has nothing to look at."""
        self._not_checked()

    def measurement(self, _policy: TrustPolicy, _now: int) -> str:
        """Step 7 has nothing to look at."""
        self._not_checked()

    def report_data(self) -> bytes:
        """Step 8 has nothing to look at."""
        self._not_checked()

    def chip_id(self) -> str:
        """Step 13 has nothing to look at."""
        self._not_checked()

    def _not_checked(self) -> NoReturn:
        if self._tee is None:
            raise NotChecked("there is no readable bundle (step 1)")
        raise NotChecked(f"{self._tee} evidence is not supported yet (step 3)")


def parse_presented(data: bytes) -> Presented:
    """Read every part of a bundle that can be read, and remember what is wrong with the others."""
    problems: list[str] = []
    bundle = _attempt(parse_bundle, data, problems)
    if bundle is None:
        return Presented(None, None, UnknownKind(None), tuple(problems))
    material = _attempt(parse_crypto_material, bundle.crypto_material, problems)
    kind: KindAppraiser = UnknownKind(bundle.tee)
    if bundle.tee is TeeKind.SIMULATED:
        kind = SimulatedAppraiser(
            _attempt(parse_evidence, bundle.evidence, problems),
            _attempt(parse_collateral, bundle.collateral, problems),
        )
    return Presented(bundle, material, kind, tuple(problems))


def _attempt(parse: Callable[[bytes], T], data: bytes, problems: list[str]) -> T | None:
    try:
        return parse(data)
    except AttestationError as error:
        problems.append(str(error))
        return None
