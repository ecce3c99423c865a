"""How does the ledger leave the knowledge base, and how is such a file read? (`docs/spec/ledger.md` §4)."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai.disclosure import DisclosureKind, DisclosureOutcome
from mitai.errors import LedgerFileError, MitaiError
from mitai.storage.ledger import DisclosureRecord
from mitai_crypto.fields import Fields
from mitai_crypto.saved_evidence import SavedEvidence, parse_saved_evidence
from mitai_crypto.strict_json import parse_object

if TYPE_CHECKING:
    import io
    from collections.abc import Iterable, Iterator, Mapping

EXPORT_VERSION: Final = 1
MAX_LINE_BYTES: Final = 32 * 1024 * 1024
MAX_ROWS: Final = 1_000_000
_MAX_IDS: Final = 10_000
_TYPES: Final = ("ledger", "evidence", "row", "end")


@dataclass(frozen=True)
class LedgerFile:
    """An export that was read; nothing in it is verified.

    Attributes:
        rows: In the order of their ids.
        evidence: What they rest on, by digest.
    """

    rows: tuple[DisclosureRecord, ...]
    evidence: Mapping[str, SavedEvidence]


def encode_ledger(
    rows: Iterable[DisclosureRecord], evidence: Mapping[str, SavedEvidence], *, with_text: bool = False
) -> Iterator[bytes]:
    """Give the lines of an export.

    Args:
        rows: In the order of their ids.
        evidence: What they rest on, by digest.
        with_text: Whether what was sent goes along.
    """
    written: set[str] = set()
    count = 0
    yield _line({"type": "ledger", "v": EXPORT_VERSION})
    for row in rows:
        if row.evidence is not None and row.evidence not in written:
            written.add(row.evidence)
            yield _line({"type": "evidence", "saved": _base64(evidence[row.evidence].encode())})
        yield _line({"type": "row", **row_as_json(row), **({"text": row.text} if with_text else {})})
        count += 1
    yield _line({"type": "end", "rows": count, "evidence": len(written)})


def row_as_json(row: DisclosureRecord) -> dict[str, object]:
    """Give a row without its text."""
    return {
        "id": row.disclosure_id,
        "kind": row.kind.value,
        "time": row.time,
        "url": row.url,
        "measurement": row.measurement,
        "tee": row.tee,
        "simulated": row.simulated,
        "policy": {"name": row.policy_name, "digest": row.policy_digest},
        "request_digest": row.request_digest,
        "attempt": row.attempt,
        "outcome": row.outcome.value,
        "crypto_material": row.crypto_material,
        "evidence": row.evidence,
        "receipt": row.receipt,
        "passages": list(row.passage_ids),
        "documents": list(row.document_ids),
    }


def read_ledger(stream: io.BufferedIOBase) -> LedgerFile:
    """Read an export, line by line.

    Raises:
        LedgerFileError: A line breaks the form, or the file is cut.
    """
    reader = _Reader()
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            reader.take(line)
        except MitaiError as error:
            raise LedgerFileError(f"line {number} of the export: {error}") from None
    if not reader.ended:
        raise LedgerFileError("the export is cut: its last line is missing")
    return LedgerFile(tuple(reader.rows), reader.evidence)


class _Reader:
    """What the lines of an export have said so far."""

    def __init__(self) -> None:
        self.rows: list[DisclosureRecord] = []
        self.evidence: dict[str, SavedEvidence] = {}
        self.begun = False
        self.ended = False

    def take(self, line: bytes) -> None:
        """Take the next line."""
        if self.ended:
            raise LedgerFileError("something follows the last line")
        value = parse_object(line, max_bytes=MAX_LINE_BYTES, error=LedgerFileError)
        fields = Fields(value, where="line", error=LedgerFileError)
        kind = fields.choice("type", _TYPES)
        if (kind == "ledger") is self.begun:
            raise LedgerFileError("the first line, and only that, must be of the type ledger")
        if kind == "ledger":
            self.begun = True
            fields.version("v", EXPORT_VERSION)
        elif kind == "evidence":
            self._take_evidence(fields)
        elif kind == "row":
            self._take_row(fields)
        else:
            self._take_end(fields)
        fields.finish()

    def _take_evidence(self, fields: Fields) -> None:
        saved = parse_saved_evidence(fields.base64("saved"))
        if saved.digest in self.evidence:
            raise LedgerFileError("the same evidence is there twice")
        self.evidence[saved.digest] = saved

    def _take_row(self, fields: Fields) -> None:
        row = _parse_row(fields)
        if self.rows and row.disclosure_id <= self.rows[-1].disclosure_id:
            raise LedgerFileError("the ids of rows do not grow")
        if row.evidence is not None and row.evidence not in self.evidence:
            raise LedgerFileError(f"row {row.disclosure_id} names evidence that is not there")
        if len(self.rows) >= MAX_ROWS:
            raise LedgerFileError(f"there are more than {MAX_ROWS} rows")
        self.rows.append(row)

    def _take_end(self, fields: Fields) -> None:
        rows, evidence = fields.integer("rows"), fields.integer("evidence")
        if (rows, evidence) != (len(self.rows), len(self.evidence)):
            raise LedgerFileError("lines are missing: the last line counts others")
        self.ended = True


def _parse_row(fields: Fields) -> DisclosureRecord:
    policy = fields.inner("policy")
    policy_name, policy_digest = policy.text("name"), policy.text("digest")
    policy.finish()
    return DisclosureRecord(
        disclosure_id=fields.integer("id", least=1),
        kind=DisclosureKind(fields.choice("kind", tuple(DisclosureKind))),
        time=fields.integer("time"),
        url=fields.text("url"),
        measurement=fields.text("measurement"),
        tee=fields.text("tee"),
        simulated=fields.flag("simulated"),
        policy_name=policy_name,
        policy_digest=policy_digest,
        request_digest=fields.text("request_digest"),
        attempt=fields.integer("attempt"),
        outcome=DisclosureOutcome(fields.choice("outcome", tuple(DisclosureOutcome))),
        crypto_material=None if fields.null("crypto_material") else fields.digest("crypto_material"),
        evidence=None if fields.null("evidence") else fields.digest("evidence"),
        receipt=None if fields.null("receipt") else _long_text(fields, "receipt"),
        passage_ids=_ids(fields, "passages"),
        document_ids=_ids(fields, "documents"),
        text=None if not fields.has("text") or fields.null("text") else _long_text(fields, "text"),
    )


def _long_text(fields: Fields, name: str) -> str:
    value = fields.take(name)
    if not isinstance(value, str):  # its length is bounded by that of the line
        raise LedgerFileError(f"{fields.path(name)} must be text")
    return value


def _ids(fields: Fields, name: str) -> tuple[int, ...]:
    items = fields.array(name, least=0, most=_MAX_IDS)
    if not all(isinstance(item, int) and not isinstance(item, bool) and item > 0 for item in items):
        raise LedgerFileError(f"{fields.path(name)} must be a list of ids")
    return tuple(item for item in items if isinstance(item, int))


def _line(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
