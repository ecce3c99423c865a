"""Which one value stands for all the files that an engine reads? (`docs/spec/receipt.md` §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import EvidenceError
from mitai_crypto.hashing import count, labelled, length_prefixed
from mitai_crypto.labels import MODEL_DIGEST_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ManifestEntry:
    """One file of a model, as plaintext.

    Attributes:
        path: Relative to the model's folder, with `/`; no empty, `.` or `..` part and no control character.
        size: Bytes.
        sha256: Lower-case hex.

    Raises:
        EvidenceError: A value is outside these rules.
    """

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(part in {"", ".", ".."} for part in parts) or not self.path.isprintable():
            raise EvidenceError(f"{self.path!r} is not a plain relative path")
        if not 0 <= self.size < 2**63:
            raise EvidenceError(f"{self.path}: a file cannot have {self.size} bytes")
        if not _SHA256.fullmatch(self.sha256):
            raise EvidenceError(f"{self.path}: not a SHA-256 in lower-case hex")


def model_digest(entries: Iterable[ManifestEntry]) -> str:
    """Compute the hex SHA-256 that names a model, whatever the order of its files.

    Raises:
        EvidenceError: There is no entry, or a path occurs twice.
    """
    return tree_digest(entries, label=MODEL_DIGEST_LABEL)


def tree_digest(entries: Iterable[ManifestEntry], *, label: bytes) -> str:
    """Compute the digest of a folder in the form of the model digest, under another label.

    Raises:
        EvidenceError: There is no entry, or a path occurs twice.
    """
    by_path: dict[bytes, ManifestEntry] = {}
    for entry in entries:
        key = entry.path.encode()
        if key in by_path:
            raise EvidenceError(f"{entry.path} is listed twice")
        by_path[key] = entry
    if not by_path:
        raise EvidenceError("a manifest without files stands for nothing")
    digest = labelled(label)
    digest.update(count(len(by_path)))
    for key, entry in sorted(by_path.items()):
        digest.update(length_prefixed(key) + count(entry.size) + bytes.fromhex(entry.sha256))
    return digest.hexdigest()
