"""The command `mitai-sim`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mitai_crypto.errors import MitaiError

app = typer.Typer(
    name="mitai-sim",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="A SIMULATED TEE for machines without TEE hardware: real evidence, no protection.\n\n"
    "Who owns this machine can read everything that runs here. Use it to develop and to test.",
)

NOTICE = """\
────────────────────────────────────────────────────────────────────────
 SIMULATED TEE – NOT HARDWARE – PROTECTS NOTHING
 Who owns this machine can read the enclave's memory and its keys.
────────────────────────────────────────────────────────────────────────"""

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="Folder of this machine's root (made on first use, 0700). Default: user data."),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", help="File or folder to measure by content, for instance the tokens file. Repeatable."),
]
CommandArgument = Annotated[
    list[str],
    typer.Argument(metavar="COMMAND", help="What to launch, after `--`.", show_default=False),
]


@app.command(
    epilog="Example: mitai-sim run --input tokens.toml -- mitai-enclave serve --tee simulated …\n\n"
    "Exit code: the command's own; 128 + n if signal n ended it; 70 if it could not be launched."
)
def run(command: CommandArgument, state: StateOption = None, inputs: InputOption = None) -> None:
    """Measure a command, run it, and answer its requests for quotes and sealing keys."""
    from mitai_sim import launch, root

    print(NOTICE, file=sys.stderr, flush=True)
    try:
        code = launch.run(command, inputs or [], state or root.default_state_folder(), os.environ)
    except MitaiError as error:
        _fail(error)
    raise typer.Exit(code)


@app.command(
    epilog="Example: mitai-sim measure --input tokens.toml -- mitai-enclave serve … > reference.json\n\n"
    "The same arguments, variables and files give the registers of `mitai-sim run`. Exit code 70 on failure."
)
def measure(command: CommandArgument, state: StateOption = None, inputs: InputOption = None) -> None:
    """Print the reference value of a command as JSON, without starting it."""
    from mitai_sim import launch, root

    try:
        found = launch.reference_values(command, inputs or [], state or root.default_state_folder(), os.environ)
    except MitaiError as error:
        _fail(error)
    print(json.dumps(found, indent=2))


def main() -> None:
    """Run the command line."""
    app()


def _fail(error: MitaiError) -> NoReturn:
    print(f"mitai-sim: {error}", file=sys.stderr)
    if error.hint:
        print(f"  {error.hint}", file=sys.stderr)
    raise typer.Exit(os.EX_SOFTWARE)
