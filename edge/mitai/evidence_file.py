"""Read and write saved evidence on disk; its form is decided in `mitai_crypto.saved_evidence`, which cannot do IO."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mitai.errors import EvidenceError
from mitai.formats import FILE_MODE
from mitai_crypto.labels import MAX_SAVED_EVIDENCE_BYTES
from mitai_crypto.saved_evidence import parse_saved_evidence

if TYPE_CHECKING:
    from pathlib import Path

    from mitai_crypto.saved_evidence import SavedEvidence


def load_evidence(path: Path) -> SavedEvidence:
    """Read saved evidence (`docs/spec/evidence.md` §6); nothing of it is verified.

    Raises:
        EvidenceError: The file cannot be read, is too large, or is not saved evidence.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SAVED_EVIDENCE_BYTES + 1)
    except OSError as error:
        raise EvidenceError(
            f"the saved evidence {path} cannot be read ({error.strerror})",
            hint="`mitai verify URL --bundle FILE` saves evidence; without URL it is read.",
        ) from None
    return parse_saved_evidence(data)


def save_evidence(path: Path, evidence: SavedEvidence) -> None:
    """Write saved evidence to a new file with mode 0600.

    Raises:
        EvidenceError: Something has that name, or the disk refuses.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(evidence.encode())
    except OSError as error:
        raise EvidenceError(
            f"the evidence cannot be saved at {path} ({error.strerror})",
            hint="Name a file that does not exist yet: evidence is never overwritten.",
        ) from None
