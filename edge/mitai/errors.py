"""Every error that Mitai raises on the device, in one tree.

    MitaiError
    ├── KnowledgeBaseError           the knowledge base cannot do what was asked
    │   ├── KnowledgeBaseNotFound    there is none at that path
    │   ├── KnowledgeBaseExists      something is at that path already
    │   ├── WrongPassphrase          no key slot opens with what was given
    │   ├── PassphraseRefused        the text cannot be a passphrase (RFC 8265), or none was given
    │   ├── NoKeychain               this machine has no keychain that keeps secrets, or it gave none
    │   ├── KnowledgeBaseDamaged     bytes on disk are not what was written
    │   ├── KnowledgeBaseTooNew      a newer version of Mitai made it
    │   ├── KnowledgeBaseBusy        another process is writing
    │   ├── StorageFailed            the disk refused: full, read-only, gone
    │   ├── DocumentNotFound         no such document in it
    │   ├── TextRefused              a text, its key or its metadata cannot be stored as it is
    │   └── PassagesStay             its passages may not go to a model that nobody attested
    ├── LoadError                    a file gave no document (`mitai_ingest.errors`)
    │   ├── UnreadableFile
    │   ├── OutsideRoots
    │   ├── UnsupportedFormat
    │   ├── EmptyDocument
    │   ├── DocumentTooLarge
    │   ├── EncryptedDocument
    │   ├── DamagedDocument
    │   ├── UndecodableText
    │   ├── ParserTimeout
    │   └── ParserCrashed
    ├── ModelError                   a pinned model cannot be used (`mitai.models.errors`)
    │   ├── UnknownModel
    │   ├── ModelMissing             it is not on this machine yet
    │   ├── LockError
    │   ├── ModelFetchError
    │   ├── ModelDataError
    │   └── ModelMismatch            the knowledge base was made with another embedding model
    ├── ContextTooLong               question and passages do not fit into the model's context
    ├── ContentRefused               a message holds something else than text
    ├── ChannelError                 the sealed channel could not be used (`mitai_crypto.errors`)
    │   ├── EnclaveUnreachable       nothing answers at that address; nothing was sent
    │   │   └── DeliveryUnknown      the connection broke after a sealed request was handed over
    │   ├── EnclaveRefused           the enclave answered, sealed, with an error status
    │   ├── PlaintextRefused         an answer came outside the seal and was not read
    │   ├── IncompleteAnswer         the answer broke off; what was shown is authentic but not whole
    │   ├── HpkeError
    │   ├── BhttpError
    │   ├── KeyConfigError
    │   ├── DecapsulationError
    │   ├── TruncatedMessage
    │   └── MessageTooLarge
    ├── AttestationError             an enclave is not proven to be what it says (`mitai_crypto.errors`)
    │   ├── EvidenceError
    │   ├── PolicyError
    │   ├── EvidenceExpired
    │   ├── TeeUnavailable
    │   └── VerificationFailed
    ├── LedgerFileError              an export of the ledger is malformed or cut
    ├── PaddingError                 a size or cadence that cannot be asked for
    ├── ArgumentRefused              a client of the MCP server asked for something that cannot be
    ├── ExtraMissing                 an optional part of Mitai is not installed
    ├── TracingRefused               a tracer would send questions and passages away unsealed
    ├── SecretUnavailable            a passphrase or token was needed and could not be had
    ├── ServeFailed                  the local endpoint cannot be opened as asked
    ├── StageFailed                  the cloud side of the demo did not start
    └── ReceiptError                 a receipt is missing, malformed, or not of this exchange (`mitai_crypto.errors`)

Every error says in its message what happened and in `hint` what to do about it. None holds text of a document.
"""

from __future__ import annotations

from mitai.models.errors import (
    LockError,
    ModelDataError,
    ModelError,
    ModelFetchError,
    ModelMissing,
    UnknownModel,
)
from mitai_crypto.errors import (
    AttestationError,
    BhttpError,
    ChannelError,
    DecapsulationError,
    EvidenceError,
    EvidenceExpired,
    HpkeError,
    KeyConfigError,
    MessageTooLarge,
    MitaiError,
    PolicyError,
    ReceiptError,
    TeeUnavailable,
    TruncatedMessage,
    VerificationFailed,
)
from mitai_ingest.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
    LoadError,
    OutsideRoots,
    ParserCrashed,
    ParserTimeout,
    UndecodableText,
    UnreadableFile,
    UnsupportedFormat,
)

__all__ = [
    "ArgumentRefused",
    "AttestationError",
    "BhttpError",
    "ChannelError",
    "ContentRefused",
    "ContextTooLong",
    "DamagedDocument",
    "DecapsulationError",
    "DeliveryUnknown",
    "DocumentNotFound",
    "DocumentTooLarge",
    "EmptyDocument",
    "EnclaveRefused",
    "EnclaveUnreachable",
    "EncryptedDocument",
    "EvidenceError",
    "EvidenceExpired",
    "ExtraMissing",
    "HpkeError",
    "IncompleteAnswer",
    "KeyConfigError",
    "KnowledgeBaseBusy",
    "KnowledgeBaseDamaged",
    "KnowledgeBaseError",
    "KnowledgeBaseExists",
    "KnowledgeBaseNotFound",
    "KnowledgeBaseTooNew",
    "LedgerFileError",
    "LoadError",
    "LockError",
    "MessageTooLarge",
    "MitaiError",
    "ModelDataError",
    "ModelError",
    "ModelFetchError",
    "ModelMismatch",
    "ModelMissing",
    "NoKeychain",
    "OutsideRoots",
    "PaddingError",
    "ParserCrashed",
    "ParserTimeout",
    "PassagesStay",
    "PassphraseRefused",
    "PlaintextRefused",
    "PolicyError",
    "ReceiptError",
    "SecretUnavailable",
    "ServeFailed",
    "StageFailed",
    "StorageFailed",
    "TeeUnavailable",
    "TextRefused",
    "TracingRefused",
    "TruncatedMessage",
    "UndecodableText",
    "UnknownModel",
    "UnreadableFile",
    "UnsupportedFormat",
    "VerificationFailed",
    "WrongPassphrase",
]


class KnowledgeBaseError(MitaiError):
    """The knowledge base cannot do what was asked."""


class KnowledgeBaseNotFound(KnowledgeBaseError):
    """There is no knowledge base at that path."""

    default_hint = "`mitai kb list` shows what is there; `mitai kb create NAME` makes one."


class KnowledgeBaseExists(KnowledgeBaseError):
    """Something is at that path already."""

    default_hint = "Choose another name; an existing knowledge base is never overwritten."


class WrongPassphrase(KnowledgeBaseError):
    """No key slot opens with what was given."""

    default_hint = "Check keyboard layout and input method. Without a slot that opens, the content cannot be recovered."


class PassphraseRefused(KnowledgeBaseError):
    """The text cannot be a passphrase (RFC 8265 OpaqueString), or none was given."""

    default_hint = "Use letters of any script, digits, punctuation and spaces; no control characters, and not nothing."


class NoKeychain(KnowledgeBaseError):
    """This machine has no keychain that keeps secrets, or it gave none."""

    default_hint = (
        "Open with the passphrase. Keychains that count: "
        "macOS Keychain, Windows Credential Locker, Secret Service, KWallet."
    )


class KnowledgeBaseDamaged(KnowledgeBaseError):
    """Bytes on disk are not what was written."""

    default_hint = (
        "Nothing was changed. Restore the folder from a backup, or create a new knowledge base and ingest again."
    )


class KnowledgeBaseTooNew(KnowledgeBaseError):
    """A newer version of Mitai made this knowledge base."""

    default_hint = "Install the newer version of Mitai; nothing was changed."


class KnowledgeBaseBusy(KnowledgeBaseError):
    """Another process is writing to the knowledge base."""

    default_hint = "Wait until the other ingest is done, or stop it; what is stored is safe."


class StorageFailed(KnowledgeBaseError):
    """The disk refused to read or write: full, read-only, or gone."""

    default_hint = (
        "Free some space or check the disk's permissions, then run the command again; what is stored is safe."
    )


class DocumentNotFound(KnowledgeBaseError):
    """No such document is in the knowledge base."""

    default_hint = "`mitai kb info` lists the documents with their numbers."


class TextRefused(KnowledgeBaseError):
    """A text, its key or its metadata cannot be stored so that it comes back as it was."""

    default_hint = "Keys are 1 to 512 characters; metadata is JSON: strings, finite numbers, true, false, null, lists."


class PassagesStay(KnowledgeBaseError):
    """The passages of this knowledge base may not go to a model that nobody attested."""

    default_hint = "Ask a question instead; or let its passages go: mitai kb set NAME --reveal-passages"


class ModelMismatch(ModelError):
    """The knowledge base was made with another embedding model: its vectors cannot be compared with this one's."""

    default_hint = "Use the model it was made with, or create a new knowledge base and ingest again."


class ContextTooLong(MitaiError):
    """Question and passages do not fit into the model's context."""

    default_hint = "Ask a shorter question, use fewer passages, or use an enclave whose model has a longer context."


class ContentRefused(MitaiError):
    """A message holds something else than text."""

    default_hint = "Only text is sent: no images, sound or files. Nothing left the device."


class EnclaveUnreachable(ChannelError):
    """Nothing answers at that address."""

    default_hint = "Check the address and that the enclave runs; nothing was sent."


class DeliveryUnknown(EnclaveUnreachable):
    """The connection broke after a sealed request was handed over: whether the enclave got it is not known."""

    default_hint = "The sealed request may have reached the enclave; whether it was answered is not known. Ask again."


class EnclaveRefused(ChannelError):
    """The enclave answered, inside the seal, with an error status.

    Attributes:
        status: The sealed HTTP status, 400 to 599.
    """

    def __init__(self, message: str, *, status: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class PlaintextRefused(ChannelError):
    """An answer came outside the seal; it was not read."""

    default_hint = "Something between here and the enclave answers in its place, or the address is not a Mitai enclave."


class IncompleteAnswer(ChannelError):
    """The answer broke off: what was shown is authentic, but not the whole."""

    default_hint = "The connection or the engine broke off; ask again."


class LedgerFileError(MitaiError):
    """An export of the ledger is malformed, or cut."""

    default_hint = "Export it again with `mitai ledger export`; nothing in this file was believed."


class PaddingError(MitaiError):
    """A padding was asked for that the channel does not know."""

    default_hint = "Sizes are powers of two; a cadence is in milliseconds. The defaults are a good choice."


class ArgumentRefused(MitaiError):
    """A client of the MCP server asked for something that cannot be."""

    default_hint = "The tool's input schema says what it takes."


class ExtraMissing(MitaiError):
    """An optional part of Mitai is not installed.

    Args:
        extra: The name of the extra.
    """

    def __init__(self, extra: str) -> None:
        super().__init__(
            f"this part of Mitai needs the extra {extra!r}", hint=f"Install it: pip install 'mitai[{extra}]'"
        )
        self.extra = extra

    default_hint = "Install the extra that is named."


class TracingRefused(MitaiError):
    """A tracer is on that would send questions and passages away unsealed."""

    default_hint = "Unset LANGSMITH_TRACING, LANGCHAIN_TRACING_V2 and their kin; or say allow_tracing=True."


class SecretUnavailable(MitaiError):
    """A passphrase or token was needed and could not be had."""

    default_hint = "Secrets come from a prompt, --…-fd N, a file of mode 0600, or the keychain."


class ServeFailed(MitaiError):
    """The local endpoint cannot be opened as asked."""

    default_hint = "`mitai serve --help` explains its options; nothing was sent."


class StageFailed(MitaiError):
    """The cloud side of the demo did not start, or ended early."""

    default_hint = "What it said last is above; `mitai-enclave serve --help` explains its options."
