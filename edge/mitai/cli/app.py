"""The `mitai` command: its verbs, its help, and how errors become exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mitai import __version__
from mitai.cli import ask, ingest, knowledge_base, ledger, mcp, policy, search, serve, verify
from mitai.cli.demo import command as demo
from mitai.cli.exit_codes import exit_code_for
from mitai.cli.output import error_as_json, print_error, print_json
from mitai.errors import MitaiError

_EPILOG = (
    "Exit codes: 0 done · 1 failed · 2 usage · 3 locked · 4 knowledge base · 5 some files not read · "
    "6 enclave unreachable · 7 enclave not verified · 8 answer refused or incomplete · 130 cancelled"
)

app = typer.Typer(
    name="mitai",
    help="Ask a strong cloud model about private documents without showing them to whoever runs the cloud.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:
    if value:
        print(f"mitai {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


app.add_typer(knowledge_base.app, name="kb")
app.command("ingest", epilog=ingest.EXAMPLES)(ingest.ingest)
app.command("search", epilog=search.EXAMPLES)(search.search)
app.command("ask", epilog=ask.EXAMPLES)(ask.ask)
app.command("verify", epilog=verify.EXAMPLES)(verify.verify)
app.add_typer(policy.app, name="policy")
app.add_typer(ledger.app, name="ledger", epilog=ledger.EXAMPLES)
app.command("mcp", epilog=mcp.EXAMPLES)(mcp.mcp)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("demo", epilog=demo.EXAMPLES)(demo.demo)


def main() -> None:
    """Run the command; turn every error of ours into a message with a way on, and an exit code."""
    try:
        app()
    except MitaiError as error:
        code = exit_code_for(error)
        if "--json" in sys.argv:
            print_json(error_as_json(error, code))
        print_error(error)
        sys.exit(code)
