"""Quotes and event logs of the simulated TEE."""

from __future__ import annotations

from target import Target, bundle_parts

from mitai_crypto.errors import EvidenceError
from mitai_crypto.simulated_log import replay
from mitai_crypto.simulated_quote import parse_evidence


def read(data: bytes) -> None:
    """Read evidence and replay its log."""
    replay(parse_evidence(data).events)


def seeds() -> list[bytes]:
    """Return the evidence of every vector."""
    return bundle_parts("evidence")


TARGET = Target(read, EvidenceError, seeds, factor=200, max_bytes=16_384)
