"""Ask a strong cloud model about private documents without showing them to whoever runs the cloud.

    from pathlib import Path
    from mitai import EnclaveClient, KnowledgeBase, ask, load_policy

    url, policy, token = "https://enclave.example", load_policy(Path("policy.toml")), "a-token"
    with (
        KnowledgeBase.create(Path("handbooks"), passphrase="correct horse 密态") as handbooks,
        EnclaveClient(url, policy=policy, token=token) as enclave,
    ):
        handbooks.ingest([Path("documents")])
        stream = ask(handbooks, "How many days of annual leave are there?", enclave)
        for text in stream:  # whole when it ends without an error
            print(text, end="")
        for citation in stream.answer.citations:
            print(citation.file, citation.page, citation.quote)

Nothing is sent before the enclave has proven what it is, and each question is written into the ledger before
its first byte leaves. For other clients there are `sealed_client` and `SealedTransport`. Every error is a
`MitaiError` with a `hint`; the tree is drawn in `mitai.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitai import errors
    from mitai.answering.answer import Answer, AnswerStream, Grounding, ask
    from mitai.answering.cite import CheckedSentence, Citation, Support
    from mitai.disclosure import Disclosure, DisclosureOutcome, Outgoing
    from mitai.embed import Embedder
    from mitai.enclave import ChatStream, EnclaveClient, ModelInfo
    from mitai.errors import MitaiError
    from mitai.ingestion import IngestSummary, Progress
    from mitai.knowledge_base import KnowledgeBase, KnowledgeBaseInfo
    from mitai.padding import Padding
    from mitai.policy_file import load_policy
    from mitai.retrieve import Hit
    from mitai.storage.ledger import DisclosureRecord
    from mitai.storage.records import DocumentRecord, Removal
    from mitai.storage.revelations import RevelationRecord
    from mitai.storage.texts import Text
    from mitai.transport import (
        AsyncHttpxSealedTransport,
        AsyncSealedTransport,
        HttpxSealedTransport,
        SealedTransport,
    )
    from mitai.transport.clients import async_sealed_client, sealed_client
    from mitai_crypto.policy import TrustPolicy, parse_policy
    from mitai_crypto.receipt import Receipt
    from mitai_crypto.verify import AttestationResult, VerificationReport

    __version__: str

__all__ = [
    "Answer",
    "AnswerStream",
    "AsyncHttpxSealedTransport",
    "AsyncSealedTransport",
    "AttestationResult",
    "ChatStream",
    "CheckedSentence",
    "Citation",
    "Disclosure",
    "DisclosureOutcome",
    "DisclosureRecord",
    "DocumentRecord",
    "Embedder",
    "EnclaveClient",
    "Grounding",
    "Hit",
    "HttpxSealedTransport",
    "IngestSummary",
    "KnowledgeBase",
    "KnowledgeBaseInfo",
    "MitaiError",
    "ModelInfo",
    "Outgoing",
    "Padding",
    "Progress",
    "Receipt",
    "Removal",
    "RevelationRecord",
    "SealedTransport",
    "Support",
    "Text",
    "TrustPolicy",
    "VerificationReport",
    "__version__",
    "ask",
    "async_sealed_client",
    "errors",
    "load_policy",
    "parse_policy",
    "sealed_client",
]

_HOMES = {
    "Answer": "mitai.answering.answer",
    "AnswerStream": "mitai.answering.answer",
    "AsyncHttpxSealedTransport": "mitai.transport",
    "AsyncSealedTransport": "mitai.transport",
    "AttestationResult": "mitai_crypto.verify",
    "ChatStream": "mitai.enclave",
    "CheckedSentence": "mitai.answering.cite",
    "Citation": "mitai.answering.cite",
    "Disclosure": "mitai.disclosure",
    "DisclosureOutcome": "mitai.disclosure",
    "DisclosureRecord": "mitai.storage.ledger",
    "DocumentRecord": "mitai.storage.records",
    "Embedder": "mitai.embed",
    "EnclaveClient": "mitai.enclave",
    "Grounding": "mitai.answering.answer",
    "Hit": "mitai.retrieve",
    "HttpxSealedTransport": "mitai.transport",
    "IngestSummary": "mitai.ingestion",
    "KnowledgeBase": "mitai.knowledge_base",
    "KnowledgeBaseInfo": "mitai.knowledge_base",
    "MitaiError": "mitai.errors",
    "ModelInfo": "mitai.enclave",
    "Outgoing": "mitai.disclosure",
    "Padding": "mitai.padding",
    "Progress": "mitai.ingestion",
    "Receipt": "mitai_crypto.receipt",
    "Removal": "mitai.storage.records",
    "RevelationRecord": "mitai.storage.revelations",
    "SealedTransport": "mitai.transport",
    "Support": "mitai.answering.cite",
    "Text": "mitai.storage.texts",
    "TrustPolicy": "mitai_crypto.policy",
    "VerificationReport": "mitai_crypto.verify",
    "ask": "mitai.answering.answer",
    "async_sealed_client": "mitai.transport.clients",
    "load_policy": "mitai.policy_file",
    "parse_policy": "mitai_crypto.policy",
    "sealed_client": "mitai.transport.clients",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562): `import mitai` alone loads nothing."""
    if name == "__version__":
        value: object = import_module("importlib.metadata").version("mitai")
    elif name == "errors":
        value = import_module("mitai.errors")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
