"""What left the device, to whom, and what came of it? (`docs/spec/ledger.md`, `docs/spec/knowledge_base.md` §5-§7).

A row is on disk before the first byte leaves. It keeps ids and digests for good; the text that was sent stands in a
table of its own, which the deletion of a document empties. Evidence is kept once, whatever the number of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from mitai.disclosure import DisclosureKind, DisclosureOutcome
from mitai.errors import EvidenceError, KnowledgeBaseDamaged, KnowledgeBaseError
from mitai_crypto.saved_evidence import SavedEvidence, parse_saved_evidence

if TYPE_CHECKING:
    from mitai.disclosure import Disclosure
    from mitai.storage.database import Database, Row

_COLUMNS = (
    "id, time, url, measurement, tee, simulated, policy_name, policy_digest, request_digest, attempt, outcome, receipt,"
    " kind, crypto_material, evidence"
)


@dataclass(frozen=True)
class DisclosureRecord:
    """One row of the ledger.

    Attributes:
        disclosure_id: Its number, growing.
        time: Unix time in seconds at which it was about to leave.
        url: The address of the enclave.
        measurement: The enclave's measurement, hexadecimal.
        tee: The evidence kind.
        simulated: Whether the evidence was of a simulated TEE, which protects nothing.
        policy_name: The name of the trust policy.
        policy_digest: The policy's digest, hexadecimal.
        request_digest: The digest that the receipt binds, hexadecimal.
        attempt: 1 for the first sealing of a request.
        outcome: How it ended, as far as the device knows.
        receipt: The receipt as it was verified, JSON; None where none came.
        passage_ids: The passages that were sent, in order.
        document_ids: The documents they came from, in ascending order.
        text: What was sent; None after one of its documents was removed.
        kind: Whether it left sealed, or was revealed to a program.
        crypto_material: SHA-256 of the crypto material whose key sealed it, hexadecimal.
        evidence: The digest of the `SavedEvidence` it rests on; None in rows of old versions and revealed ones.
    """

    disclosure_id: int
    time: int
    url: str
    measurement: str
    tee: str
    simulated: bool
    policy_name: str
    policy_digest: str
    request_digest: str
    attempt: int
    outcome: DisclosureOutcome
    receipt: str | None
    passage_ids: tuple[int, ...]
    document_ids: tuple[int, ...]
    text: str | None = field(repr=False)
    kind: DisclosureKind = DisclosureKind.SEALED
    crypto_material: str | None = None
    evidence: str | None = None


class DisclosureLedger:
    """The disclosure ledger of a knowledge base."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin_disclosure(self, disclosure: Disclosure) -> int:
        """Write a row and return its id once it is on disk; only then may the first byte leave.

        Raises:
            KnowledgeBaseError: A passage is not (or no longer) in the knowledge base, or a sealed row has no
                evidence to rest on; nothing may leave.
            KnowledgeBaseBusy: Another process is writing; nothing may leave.
        """
        out = disclosure.outgoing
        if disclosure.kind is DisclosureKind.SEALED and out.evidence is None:
            raise KnowledgeBaseError("a sealed disclosure needs its evidence", hint="Nothing was sent.")
        with self._database.write():
            evidence = None if out.evidence is None else self._keep(out.evidence)
            number = self._database.insert(
                "INSERT INTO disclosures (time, url, measurement, tee, simulated, policy_name, policy_digest,"
                " request_digest, attempt, outcome, kind, crypto_material, evidence)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    out.time,
                    out.url,
                    out.measurement,
                    out.tee,
                    int(out.simulated),
                    out.policy_name,
                    out.policy_digest,
                    out.request_digest,
                    out.attempt,
                    DisclosureOutcome.UNKNOWN.value,
                    disclosure.kind.value,
                    out.crypto_material,
                    evidence,
                ),
            )
            self._database.insert("INSERT INTO sent_text VALUES (?, ?)", (number, out.text))
            for position, passage_id in enumerate(disclosure.passage_ids):
                self._record_passage(number, position, passage_id)
        return number

    def complete_disclosure(self, disclosure_id: int, receipt_json: str | None, outcome: DisclosureOutcome) -> None:
        """Write down how a disclosure ended.

        Args:
            disclosure_id: What `begin_disclosure` returned.
            receipt_json: The verified receipt as `ReceiptRecord.encode` writes it, or None.
            outcome: How it ended.

        Raises:
            KnowledgeBaseError: There is no such row, or its outcome is written already: the ledger is not rewritten.
        """
        with self._database.write():
            changed = self._database.rows(
                "UPDATE disclosures SET receipt = ?, outcome = ? WHERE id = ? AND outcome = ? RETURNING id",
                (receipt_json, outcome.value, disclosure_id, DisclosureOutcome.UNKNOWN.value),
            )
            if not changed:
                raise KnowledgeBaseError(f"disclosure {disclosure_id} is not open")

    def list_disclosures(self) -> list[DisclosureRecord]:
        """Return every row, oldest first."""
        with self._database.read():
            found = self._database.rows(f"SELECT {_COLUMNS} FROM disclosures ORDER BY id")  # noqa: S608 - a constant
            return [self._record(row) for row in found]

    def list_evidence(self) -> dict[str, SavedEvidence]:
        """Return the evidence that rows rest on, by its digest.

        Raises:
            KnowledgeBaseDamaged: It is not what was written.
        """
        found: dict[str, SavedEvidence] = {}
        for digest, saved in self._database.rows("SELECT digest, saved FROM evidence ORDER BY id"):
            try:
                evidence = parse_saved_evidence(cast("bytes", saved))
            except EvidenceError:
                raise KnowledgeBaseDamaged("evidence in the ledger is not what was written") from None
            if evidence.digest != digest:
                raise KnowledgeBaseDamaged("evidence in the ledger is not what was written")
            found[evidence.digest] = evidence
        return found

    def forget_text_of(self, document_id: int) -> int:
        """Delete the sent text of every disclosure that held a passage of a document, and return how many.

        Part of the caller's transaction.
        """
        deleted = self._database.rows(
            "DELETE FROM sent_text WHERE disclosure_id IN"
            " (SELECT disclosure_id FROM disclosed_passages WHERE document_id = ?) RETURNING disclosure_id",
            (document_id,),
        )
        return len(deleted)

    def _keep(self, evidence: SavedEvidence) -> str:
        self._database.insert(
            "INSERT INTO evidence (digest, saved) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
            (evidence.digest, evidence.encode()),
        )
        return evidence.digest

    def _record_passage(self, disclosure_id: int, position: int, passage_id: int) -> None:
        owner = self._database.row("SELECT document_id FROM passages WHERE id = ?", (passage_id,))
        if owner is None:
            raise KnowledgeBaseError(
                f"passage {passage_id} is no longer in the knowledge base",
                hint="Nothing was sent. Ask again.",
            )
        self._database.insert(
            "INSERT INTO disclosed_passages VALUES (?, ?, ?, ?)",
            (disclosure_id, position, passage_id, owner[0]),
        )

    def _record(self, row: Row) -> DisclosureRecord:
        number = cast("int", row[0])
        parts = self._database.rows(
            "SELECT passage_id, document_id FROM disclosed_passages WHERE disclosure_id = ? ORDER BY position",
            (number,),
        )
        text = self._database.row("SELECT text FROM sent_text WHERE disclosure_id = ?", (number,))
        return DisclosureRecord(
            disclosure_id=number,
            time=cast("int", row[1]),
            url=cast("str", row[2]),
            measurement=cast("str", row[3]),
            tee=cast("str", row[4]),
            simulated=bool(row[5]),
            policy_name=cast("str", row[6]),
            policy_digest=cast("str", row[7]),
            request_digest=cast("str", row[8]),
            attempt=cast("int", row[9]),
            outcome=DisclosureOutcome(cast("str", row[10])),
            receipt=cast("str | None", row[11]),
            passage_ids=tuple(cast("int", passage) for passage, _ in parts),
            document_ids=tuple(sorted({cast("int", document) for _, document in parts})),
            text=None if text is None else cast("str", text[0]),
            kind=DisclosureKind(cast("str", row[12])),
            crypto_material=cast("str | None", row[13]),
            evidence=cast("str | None", row[14]),
        )
