"""`mitai serve`: an OpenAI-compatible endpoint on this device, sealed to an attested enclave."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.exit_codes import ExitCode
from mitai.cli.opening import KeySource, chosen_padding, open_knowledge_base, read_token
from mitai.cli.options import (
    CadenceOption,
    EnclaveOption,
    JsonOption,
    KeychainOption,
    LimitOption,
    NoPaddingOption,
    PassphraseFdOption,
    PassphraseFileOption,
    PolicyOption,
    TokenFdOption,
    TokenFileOption,
)
from mitai.cli.output import error_as_json, print_error, print_json, print_simulated, safe, stderr
from mitai.cli.secrets import read_private_file
from mitai.errors import ExtraMissing, SecretUnavailable, ServeFailed, VerificationFailed

if TYPE_CHECKING:
    from mitai.knowledge_base import KnowledgeBase
    from mitai.serve.listening import Listener
    from mitai_crypto.verify import AttestationResult

EXAMPLES = (
    "Example: mitai serve --enclave URL --policy policy.toml --token-file token --kb handbook · "
    "mitai serve … --socket ~/.mitai.sock --no-token · mitai serve … --local-token-file local-token --json"
)
LOCAL_TOKEN_BYTES = 32


def serve(
    enclave: EnclaveOption,
    policy: PolicyOption,
    host: Annotated[str, typer.Option("--host", help="127.0.0.1 or ::1; no other address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 for any that is free.")] = 8484,
    socket: Annotated[
        Path | None, typer.Option("--socket", help="Listen on a Unix socket (mode 0600) and on no port.")
    ] = None,
    local_token_file: Annotated[
        Path | None,
        typer.Option("--local-token-file", help="Keep the token of local clients in this file (mode 0600)."),
    ] = None,
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Let every local process in; best with --socket only.")
    ] = False,
    kb: Annotated[
        list[str] | None,
        typer.Option("--kb", help="Serve this knowledge base as model kb:NAME; repeatable.", metavar="NAME|PATH"),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option("--ledger", help="Record plain requests, too, in the ledger of this --kb.", metavar="NAME|PATH"),
    ] = None,
    limit: LimitOption = 8,
    token_fd: TokenFdOption = None,
    token_file: TokenFileOption = None,
    passphrase_fd: PassphraseFdOption = None,
    passphrase_file: PassphraseFileOption = None,
    keychain: KeychainOption = False,
    cadence: CadenceOption = None,
    no_padding: NoPaddingOption = False,
    log_format: Annotated[
        str, typer.Option("--log-format", help="human or json; one line a request, no content.")
    ] = "human",
    json_: JsonOption = False,
) -> None:
    """Serve the OpenAI API to programs on this device; every request goes sealed to an attested enclave.

    Give a client the shown URL with /v1 as base_url and the local token as API key. With --json one line on stdout says
    when it is ready. Ctrl-C ends it after the running answers.
    """
    form = _log_format(log_format)
    try:
        from mitai.serve.app import Endpoint, build_app
        from mitai.serve.listening import listen_loopback, listen_unix
        from mitai.serve.log import LogFormat, ServeLog
        from mitai.serve.server import serve as run
        from mitai.serve.upstream import Upstream
    except ModuleNotFoundError as error:
        raise ExtraMissing("serve") from error
    from mitai.policy_file import load_policy

    with ExitStack() as opened:
        upstream = Upstream(
            enclave,
            policy=load_policy(policy),
            token=read_token(token_fd=token_fd, token_file=token_file),
            padding=chosen_padding(no_padding=no_padding, cadence=cadence),
        )
        bases = _open_all(kb or [], KeySource(passphrase_fd, passphrase_file, keychain), opened)
        recorder = _recorder(bases, ledger)
        listener = listen_unix(socket) if socket is not None else listen_loopback(host, port)
        opened.callback(listener.close)
        local = _local_token(local_token_file, no_token=no_token)
        endpoint = Endpoint(
            upstream,
            local.token,
            hosts=listener.hosts,
            corpora={base.name: base for base in bases.values()},
            ledger=None if recorder is None else recorder.ledger,
            passages=limit,
        )
        banner = Banner(listener, local, sorted(endpoint.corpora), recorded=recorder is not None)
        app = build_app(endpoint, ServeLog(sys.stderr, LogFormat(form)))
        try:
            asyncio.run(run(app, upstream, listener, banner.show_json if json_ else banner.show))
        except VerificationFailed as error:
            _report(error, json_=json_)
            raise typer.Exit(ExitCode.UNVERIFIED) from None


@dataclass(frozen=True)
class LocalToken:
    """What local clients must show.

    Attributes:
        token: None where nothing is asked for.
        file: Where it is kept; None where it is shown.
    """

    token: str | None = field(repr=False)
    file: Path | None = None


@dataclass(frozen=True)
class Banner:
    """What is said once the endpoint listens."""

    listener: Listener
    local: LocalToken
    names: list[str]
    recorded: bool

    def show_json(self, attestation: AttestationResult) -> None:
        """Write the line that scripts wait for; it holds no token."""
        print_json(
            {
                "event": "ready",
                "url": self.listener.url,
                "socket": None if self.listener.path is None else str(self.listener.path),
                "tee": attestation.tee.value,
                "simulated": attestation.simulated,
                "measurement": attestation.measurement,
                "models": [attestation.material.model_name, *(f"kb:{name}" for name in self.names)],
            }
        )

    def show(self, attestation: AttestationResult) -> None:
        """Tell a person what is served, and what is not protected."""
        if attestation.simulated:
            print_simulated()
        where = f"Unix socket {self.listener.path}" if self.listener.path else f"{self.listener.url}/v1"
        stderr.print(f"[bold]Ready:[/] {safe(where)} · TEE {attestation.tee.value} {attestation.measurement[:16]}…")
        models = ", ".join([attestation.material.model_name, *(f"kb:{name}" for name in self.names)])
        stderr.print(f"models: {safe(models)}")
        if self.local.token is None:
            stderr.print("[yellow]--no-token:[/] every process that reaches this address may use it")
        elif self.local.file is not None:
            stderr.print(f"API key: in {safe(str(self.local.file))}")
        else:
            stderr.print(f"API key (shown once): {self.local.token}")
        if not self.recorded:
            stderr.print("[yellow]Requests to plain models are not recorded;[/] --ledger NAME records them.")


def _open_all(names: list[str], source: KeySource, opened: ExitStack) -> dict[str, KnowledgeBase]:
    """Open the knowledge bases, by what they were called; one secret from a descriptor or file opens them all."""
    source = source.read_once()
    bases: dict[str, KnowledgeBase] = {}
    for name in dict.fromkeys(names):
        base = opened.enter_context(open_knowledge_base(name, source))
        if any(other.name == base.name for other in bases.values()):
            raise ServeFailed(f"two knowledge bases are called {base.name!r}", hint="Serve them one at a time.")
        bases[name] = base
    return bases


def _recorder(bases: dict[str, KnowledgeBase], ledger: str | None) -> KnowledgeBase | None:
    if ledger is None:
        return None
    found = bases.get(ledger) or next((base for base in bases.values() if base.name == ledger), None)
    if found is None:
        raise ServeFailed(f"--ledger {ledger} is not open", hint="Name one of the --kb options.")
    return found


def _local_token(file: Path | None, *, no_token: bool) -> LocalToken:
    """Return the token of local clients: none, kept in a file, or new and about to be shown.

    Raises:
        SecretUnavailable: The file can be read by others, or there is neither a file nor a terminal.
    """
    if no_token:
        if file is not None:
            raise SecretUnavailable("--no-token and --local-token-file exclude each other")
        return LocalToken(None)
    if file is not None:
        return LocalToken(_kept_token(file), file)
    if not sys.stderr.isatty():
        raise SecretUnavailable(
            "there is no terminal to show the local token on",
            hint="Keep it in a file by --local-token-file FILE, or use --socket PATH --no-token.",
        )
    return LocalToken(_new_token())


def _kept_token(file: Path) -> str:
    token = _new_token()
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return read_private_file(file)
    except OSError as error:
        raise SecretUnavailable(f"{file} cannot be written ({error.strerror})") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(token + "\n")
    return token


def _new_token() -> str:
    return secrets.token_urlsafe(LOCAL_TOKEN_BYTES)


def _log_format(text: str) -> str:
    if text not in {"human", "json"}:
        raise typer.BadParameter("human or json", param_hint="--log-format")
    return text


def _report(error: VerificationFailed, *, json_: bool) -> None:
    """Show every step of a verification that failed."""
    from mitai.cli.verify_view import print_report

    if json_:
        print_json({**error_as_json(error, ExitCode.UNVERIFIED), "report": error.report.to_json()})
    else:
        print_report(error.report)
    print_error(error)
