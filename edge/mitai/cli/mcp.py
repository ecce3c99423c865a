"""`mitai mcp`: private documents for an MCP client, on stdin and stdout."""

from __future__ import annotations

import logging
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.opening import KeySource, open_enclave, open_knowledge_base
from mitai.cli.options import (
    EnclaveOption,
    KeychainOption,
    PassphraseFdOption,
    PassphraseFileOption,
    PolicyOption,
    TokenFdOption,
    TokenFileOption,
)
from mitai.cli.output import safe, stderr
from mitai.cli.places import knowledge_base_path
from mitai.errors import SecretUnavailable

if TYPE_CHECKING:
    from types import TracebackType

    from mitai.knowledge_base import KnowledgeBase

EXAMPLES = "Example: mitai mcp --kb handbook --keychain --enclave URL --policy policy.toml --token-file token"
_STANDARD = (0, 1, 2)


class _WithoutTraces(logging.Formatter):
    """Names the error instead of showing its words and lines, which could hold what was asked."""

    def formatException(  # noqa: N802 - the base class names it so
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        return "" if ei[0] is None else ei[0].__name__


def mcp(
    kb: Annotated[
        list[str],
        typer.Option("--kb", help="Knowledge base: a name, or the path of its folder; more than once for several."),
    ],
    enclave: EnclaveOption,
    policy: PolicyOption,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="The longest answer.")] = 256,
    token_fd: TokenFdOption = None,
    token_file: TokenFileOption = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
) -> None:
    """Serve an MCP client (a desktop assistant, an editor) on stdin and stdout.

    It gets `ask`; `search`, which hands out passages, only for knowledge bases with `mitai kb set --reveal-passages`.
    What it is given is in `mitai ledger`. Several knowledge bases must open by one passphrase, or by the keychain.
    """
    from mitai.mcp import serve

    if {token_fd, passphrase_fd} & set(_STANDARD):
        raise SecretUnavailable("stdin, stdout and stderr belong to MCP", hint="Use descriptor 3 or above, or a file.")
    if passphrase_fd is None and passphrase_file is None and not keychain:
        raise SecretUnavailable(
            "nobody can be asked for a passphrase: stdin belongs to MCP",
            hint="Use --keychain, --passphrase-file FILE (mode 0600) or --passphrase-fd N.",
        )
    _log_to_stderr()
    source = KeySource(passphrase_fd, passphrase_file, keychain)
    with ExitStack() as stack:
        client = stack.enter_context(open_enclave(enclave, policy, token_fd=token_fd, token_file=token_file))
        bases = _open_all(stack, kb, source)
        stderr.print(f"mitai mcp: serving {safe(', '.join(bases))}")
        serve(bases, client, max_tokens=max_tokens)


def _open_all(stack: ExitStack, names: list[str], source: KeySource) -> dict[str, KnowledgeBase]:
    passphrase = None if source.keychain else source.passphrase("")  # once: a descriptor ends
    bases: dict[str, KnowledgeBase] = {}
    for name in names:
        short = knowledge_base_path(name).name
        if short in bases:
            raise typer.BadParameter(f"{short} is there twice", param_hint="--kb")
        bases[short] = stack.enter_context(open_knowledge_base(name, source, passphrase=passphrase))
    return bases


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WithoutTraces("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
