"""The options that several commands share, each defined once with its help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mitai_crypto.labels import MAX_CADENCE_MILLISECONDS, MIN_CADENCE_MILLISECONDS

KnowledgeBaseOption = Annotated[
    str,
    typer.Option(
        "--kb", envvar="MITAI_KB", help="Knowledge base: a name, or the path of its folder.", metavar="NAME|PATH"
    ),
]
PassphraseFdOption = Annotated[
    int | None, typer.Option("--passphrase-fd", help="Read the passphrase from this open file descriptor.", metavar="N")
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", envvar="MITAI_PASSPHRASE_FILE", help="Read the passphrase from this file (mode 0600)."
    ),
]
KeychainOption = Annotated[
    bool, typer.Option("--keychain", help="Use the key slot in the operating system's keychain.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
LimitOption = Annotated[int, typer.Option("-k", "--limit", min=1, max=100, help="How many passages.")]
PolicyOption = Annotated[
    Path, typer.Option("--policy", envvar="MITAI_POLICY", help="Trust policy (TOML): which enclave may be trusted.")
]
TokenFdOption = Annotated[
    int | None, typer.Option("--token-fd", help="Read the API token from this open file descriptor.", metavar="N")
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option("--token-file", envvar="MITAI_TOKEN_FILE", help="Read the API token from this file (mode 0600)."),
]
EnclaveOption = Annotated[
    str, typer.Option("--enclave", envvar="MITAI_ENCLAVE", help="Address of the enclave.", metavar="URL")
]
CadenceOption = Annotated[
    int | None,
    typer.Option(
        "--cadence",
        min=MIN_CADENCE_MILLISECONDS,
        max=MAX_CADENCE_MILLISECONDS,
        help="Have answers sent in even steps of this many milliseconds: hides their speed, costs latency.",
        metavar="MS",
    ),
]
NoPaddingOption = Annotated[
    bool, typer.Option("--no-padding", help="Show the sizes of questions and answers on the wire as they are.")
]
