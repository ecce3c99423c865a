"""Certificates and revocation lists of the simulated TEE."""

from __future__ import annotations

from target import Target, bundle_parts

from mitai_crypto.errors import EvidenceError
from mitai_crypto.simulated_collateral import parse_collateral, verify_chain
from support.evidence_builder import NOW, build_enclave

ROOT = build_enclave().policy().root or ""


def read(data: bytes) -> None:
    """Read collateral and verify its chain."""
    verify_chain(parse_collateral(data), fingerprint=ROOT, now=NOW)


def seeds() -> list[bytes]:
    """Return the collateral of every vector."""
    return bundle_parts("collateral")


TARGET = Target(read, EvidenceError, seeds, factor=200, max_bytes=16_384)
