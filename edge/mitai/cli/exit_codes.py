"""The exit codes of the `mitai` command, one meaning each (documented in docs/cli.md and `mitai --help`)."""

from __future__ import annotations

from enum import IntEnum

from mitai import errors


class ExitCode(IntEnum):
    """What the shell is told."""

    OK = 0
    FAILED = 1  # something else went wrong; the message says what
    USAGE = 2  # the command line is wrong (click's own code)
    LOCKED = 3  # a passphrase, token or keychain entry is wrong, unusable or missing
    KNOWLEDGE_BASE = 4  # missing, there already, busy, damaged, of a newer version; no such document; disk full
    PARTIAL = 5  # some files could not be read; the others are in
    UNREACHABLE = 6  # no enclave answers at that address
    UNVERIFIED = 7  # the enclave did not verify, or its policy does not parse; nothing was sent
    ANSWER = 8  # the answer is refused, unsealed or incomplete, or the connection broke after sending
    CANCELLED = 130  # Ctrl-C


_BY_ERROR: tuple[tuple[type[errors.MitaiError], ExitCode], ...] = (
    (errors.WrongPassphrase, ExitCode.LOCKED),
    (errors.PassphraseRefused, ExitCode.LOCKED),
    (errors.NoKeychain, ExitCode.LOCKED),
    (errors.SecretUnavailable, ExitCode.LOCKED),
    (errors.KnowledgeBaseError, ExitCode.KNOWLEDGE_BASE),
    (errors.DeliveryUnknown, ExitCode.ANSWER),
    (errors.EnclaveUnreachable, ExitCode.UNREACHABLE),
    (errors.AttestationError, ExitCode.UNVERIFIED),
    (errors.IncompleteAnswer, ExitCode.ANSWER),
    (errors.EnclaveRefused, ExitCode.ANSWER),
    (errors.PlaintextRefused, ExitCode.ANSWER),
    (errors.ChannelError, ExitCode.ANSWER),
    (errors.ReceiptError, ExitCode.ANSWER),
)


def exit_code_for(error: errors.MitaiError) -> ExitCode:
    """Return the exit code of an error: the first class in the table that it belongs to."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)
