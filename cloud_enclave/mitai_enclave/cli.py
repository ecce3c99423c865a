"""The command `mitai-enclave`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai_crypto.errors import MitaiError
    from mitai_enclave.config import Settings

_HELP = """The sidecar of an inference enclave: it attests itself, opens sealed requests, checks their token,
forwards the allowed OpenAI routes to an engine in the same TEE, and seals the answers with a receipt.

On a machine without TEE hardware: mitai-sim run -- mitai-enclave serve --tee simulated …
"""
_EPILOG = "Exit codes: 0 stopped by a signal, 1 failed (the reason is on standard error), 2 wrong usage."

app = typer.Typer(
    name="mitai-enclave",
    help=_HELP,
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_Model = Annotated[
    str | None,
    typer.Option(help="Folder of a Hugging Face model, or a hub id where a hub is reachable. Copied and hashed."),
]
_Upstream = Annotated[
    str | None,
    typer.Option(
        help="Instead of --model: another OpenAI-compatible engine in the same TEE, unix:/PATH or "
        "http://127.0.0.1:PORT. Evidence then says engine: external, and no model digest.",
    ),
]
_Name = Annotated[str, typer.Option("--served-name", help="The model name that requests must carry.")]
_Tokens = Annotated[
    Path, typer.Option(help='TOML file: [[token]] principal = "alice", sha256 = "hex of SHA-256(token)".')
]
_Tee = Annotated[
    Literal["auto", "tdx", "sev-snp", "simulated"],
    typer.Option(
        help="Where quotes come from. auto is hardware only, never the simulation.",
    ),
]
_Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        help="Key suite on offer, mlkem768-x25519 or x25519, the preferred first; may be repeated (default: both).",
    ),
]
_MaxModelLen = Annotated[int | None, typer.Option(help="Longest context in tokens (default: the model's own).")]
_KvCache = Annotated[int, typer.Option("--kv-cache-gib", help="Memory for the key-value cache on a CPU, in GiB.")]
_Threads = Annotated[int, typer.Option(help="CPU cores for inference; 0 for all.")]
_Host = Annotated[str, typer.Option(help="Address of the gateway, as a number; a TLS proxy may stand before it.")]
_Port = Annotated[int, typer.Option(help="Port of the gateway; 0 for any free one.")]
_MetricsPort = Annotated[int, typer.Option(help="Port of the metrics listener on loopback; 0 for any free one.")]
_Workers = Annotated[int, typer.Option(help="Processes that serve requests; 1 for one process that does everything.")]
_KeyPrefix = Annotated[
    str,
    typer.Option(
        help="1 or 2 hex digits that every key fingerprint of this replica begins with; a load balancer over several "
        "replicas routes on them.",
    ),
]
_Rotation = Annotated[
    int | None, typer.Option("--rotation-seconds", help="That a key is current (default: 3600, which is the most).")
]
_Otlp = Annotated[
    str | None,
    typer.Option(
        help="Send traces without content to an OpenTelemetry collector in the same TEE, http://127.0.0.1:PORT."
    ),
]
_Runtime = Annotated[
    Path | None,
    typer.Option(
        "--runtime-dir",
        help="Folder for the model copy and the engine's socket, mode 0700 (default: in memory, /dev/shm).",
    ),
]


def _takes_settings(command: Callable[[Settings], None]) -> Callable[..., None]:
    """Give `command` the options that make its settings; `serve` and `reference` must take the same ones."""

    def run(
        served_name: _Name,
        tokens: _Tokens,
        model: _Model = None,
        upstream: _Upstream = None,
        tee: _Tee = "auto",
        suite: _Suites = None,
        max_model_len: _MaxModelLen = None,
        kv_cache_gib: _KvCache = 2,
        threads: _Threads = 0,
        host: _Host = "127.0.0.1",
        port: _Port = 0,
        metrics_port: _MetricsPort = 0,
        otlp: _Otlp = None,
        runtime_dir: _Runtime = None,
        workers: _Workers = 1,
        key_prefix: _KeyPrefix = "",
        rotation_seconds: _Rotation = None,
    ) -> None:
        from mitai_crypto.errors import MitaiError
        from mitai_enclave.address import parse_upstream
        from mitai_enclave.config import DEFAULT_SUITES, Limits, Settings, parse_suites
        from mitai_enclave.engine_command import EngineOptions
        from mitai_enclave.tee.select import TeeChoice
        from mitai_enclave.tokens import load_tokens

        try:
            settings = Settings(
                served_name=served_name,
                tokens=load_tokens(tokens),
                model=model,
                upstream=None if upstream is None else parse_upstream(upstream),
                tee=TeeChoice(tee),
                engine=EngineOptions(max_model_len, kv_cache_gib, threads),
                limits=Limits() if rotation_seconds is None else Limits(rotation_seconds=rotation_seconds),
                suites=parse_suites(suite) if suite else DEFAULT_SUITES,
                host=host,
                port=port,
                metrics_port=metrics_port,
                otlp=otlp,
                runtime_dir=runtime_dir,
                workers=workers,
                key_prefix=key_prefix,
            )
            command(settings)
        except MitaiError as error:
            _show(error)
            raise typer.Exit(1) from None

    run.__doc__ = command.__doc__
    return run


def _show(error: MitaiError) -> None:
    for line in getattr(error, "output", ()):
        print(f"  engine: {line}", file=sys.stderr)
    print(f"mitai-enclave: {error}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)


def _serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Prints one JSON line on standard output when ready: {"event":"ready","url":…,"metrics":…,"tee":…}.
    Events go to standard error as JSON lines; none holds a byte of a request.
    """
    import asyncio

    import uvloop

    from mitai_enclave import log
    from mitai_enclave.guard import harden
    from mitai_enclave.server import Ready, serve

    def announce(ready: Ready) -> None:
        line = {"event": "ready", "url": ready.url, "metrics": ready.metrics, "tee": ready.tee}
        print(json.dumps(line), flush=True)

    harden()
    log.configure(sys.stderr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, announce))


def _print_reference(settings: Settings) -> None:
    """Print, as JSON, what the evidence of a `serve` with the same options will say; start nothing.

    A trust policy takes its model digest and its configuration digest from here.
    """
    from mitai_enclave.config import configuration_digest
    from mitai_enclave.model import hash_model, locate_model

    digest = None if settings.model is None else hash_model(locate_model(settings.model))
    values = {
        "model": {"name": settings.served_name, "digest": digest},
        "configuration": configuration_digest(settings),
        "engine": settings.engine_kind,
    }
    print(json.dumps(values, indent=2))


app.command("serve")(_takes_settings(_serve))
app.command("reference")(_takes_settings(_print_reference))


def main() -> None:
    """Run the command line."""
    app()
