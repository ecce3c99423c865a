"""What is a parser's promise? One error type for whatever is wrong, and memory in proportion to the input.

Each module of `targets/` holds one `TARGET`. `run.py` fuzzes it with coverage; `tests/test_parsers.py` checks it
with random and spoiled bytes, and how much memory it takes.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import EvidenceError
from mitai_crypto.evidence import parse_bundle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER: Final = Path(__file__).resolve().parent / "targets"
_SHORT_HEX: Final = 20_000
VECTORS: Final = Path(__file__).resolve().parents[1] / "tests" / "crypto" / "vectors"


@dataclass(frozen=True)
class Target:
    """One parser.

    Attributes:
        read: Parses bytes of a stranger; may check more of what came out, and fails with AssertionError.
        error: The only error that bytes may cause.
        seeds: Good and bad examples to begin with.
        factor: The most memory it may take at a time, in bytes for each byte of the input.
        max_bytes: The longest input worth trying.
    """

    read: Callable[[bytes], object]
    error: type[Exception]
    seeds: Callable[[], list[bytes]]
    factor: int
    max_bytes: int = 65_536

    def check(self, data: bytes) -> None:
        """Parse `data`; only a broken promise gets out."""
        try:
            self.read(data)
        except self.error:
            return


def names() -> list[str]:
    """Return the names of all targets."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def load(name: str) -> Target:
    """Import the module of this name and return its target."""
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FOLDER / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.TARGET
    if not isinstance(found, Target):
        raise TypeError(f"{name} has no TARGET")
    return found


def failures(kind: str) -> list[bytes]:
    """Return the inputs of the failure vectors of one kind that are short enough to change."""
    found = (json.loads(path.read_text("utf-8"))["input"] for path in sorted((VECTORS / "failures" / kind).glob("*")))
    return [bytes.fromhex(text) for text in found if len(text) < _SHORT_HEX]


def published(name: str, *fields: str) -> list[bytes]:
    """Return hex fields of a published example."""
    document = json.loads((VECTORS / "published" / f"{name}.json").read_text("utf-8"))
    return [bytes.fromhex(document[field]) for field in fields]


def evidence(field: str) -> list[bytes]:
    """Return one field, `bundle` or `policy`, of every evidence vector."""
    found = (json.loads(path.read_text("utf-8"))[field] for path in sorted((VECTORS / "evidence").glob("*.json")))
    return sorted({text.encode() for text in found})


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut a stream as its first byte says."""
    step = 1 + data[0] if data else 1
    for start in range(1, len(data), step):
        yield data[start : start + step]


def streamed(messages: list[bytes]) -> list[bytes]:
    """Return streams that `pieces` cuts small and large."""
    return [bytes([step]) + message for message in messages for step in (0, 255)]


def bundle_parts(name: str) -> list[bytes]:
    """Return one part of every bundle among the evidence vectors that can be read."""
    found = set()
    for data in evidence("bundle"):
        try:
            found.add(getattr(parse_bundle(data), name))
        except EvidenceError:
            continue
    return sorted(found)
