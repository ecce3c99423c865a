"""What did the launcher measure, and which registers does that give? (`docs/spec/simulated_tee.md` §2)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_crypto.evidence import REGISTER_BYTES, REGISTERS, TeeKind
from mitai_crypto.fields import Fields
from mitai_crypto.hashing import length_prefixed
from mitai_crypto.labels import SIMULATED_EVENT_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mitai_crypto.strict_json import JsonValue

REGISTER_MEANING: Final = {
    "r0": "interpreter and platform",
    "r1": "installed distributions",
    "r2": "files of mitai_enclave and mitai_crypto",
    "r3": "arguments, environment and inputs",
}
"""What a difference in each register means, for people."""


@dataclass(frozen=True)
class Event:
    """One thing that was measured.

    Attributes:
        register: 0–3.
        kind: The class of thing, for instance `file` or `argv`.
        name: Which one of that class.
        digest: Hex SHA-256 of what was measured.
    """

    register: int
    kind: str
    name: str
    digest: str

    @property
    def extension(self) -> bytes:
        """The 48 bytes with which this event extends its register."""
        return hashlib.sha384(
            SIMULATED_EVENT_LABEL
            + b"\0"
            + bytes([self.register])
            + length_prefixed(self.kind.encode())
            + length_prefixed(self.name.encode())
            + length_prefixed(bytes.fromhex(self.digest))
        ).digest()

    def to_json(self) -> JsonValue:
        """Give the object of `docs/spec/simulated_tee.md` §3."""
        return {"register": self.register, "kind": self.kind, "name": self.name, "digest": self.digest}


def parse_event(item: object) -> Event:
    """Read one event.

    Raises:
        EvidenceError: The item is not a well-formed event.
    """
    fields = Fields(item, where="evidence.events[]")
    event = Event(
        register=fields.integer("register", most=len(REGISTERS[TeeKind.SIMULATED]) - 1),
        kind=fields.name("kind"),
        name=fields.text("name"),
        digest=fields.digest("digest"),
    )
    fields.finish()
    return event


def replay(events: Iterable[Event]) -> dict[str, str]:
    """Extend empty registers by each event in turn; return register name → hex value."""
    values = {name: bytes(REGISTER_BYTES) for name in REGISTERS[TeeKind.SIMULATED]}
    for event in events:
        name = f"r{event.register}"
        values[name] = hashlib.sha384(values[name] + event.extension).digest()
    return {name: value.hex() for name, value in values.items()}
