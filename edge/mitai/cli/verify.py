"""`mitai verify`: appraise an enclave's evidence and show every numbered step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mitai.cli.exit_codes import ExitCode
from mitai.cli.options import JsonOption, PolicyOption
from mitai.cli.output import print_json, print_simulated, safe, stdout
from mitai.errors import VerificationFailed

if TYPE_CHECKING:
    from mitai_crypto.report import VerificationReport

EXAMPLES = "Example: mitai verify https://enclave.example --policy policy.toml · mitai verify URL --json | jq .steps"
_COLOURS = {"pass": "green", "fail": "bold red", "not checked": "yellow"}


def verify(
    url: Annotated[str, typer.Argument(help="Address of the enclave.", envvar="MITAI_ENCLAVE")],
    policy: PolicyOption,
    json_: JsonOption = False,
) -> None:
    """Fetch evidence with a fresh nonce and appraise it in 13 steps; no question or document is sent.

    Exit code 0 only when every mandatory step passed.
    """
    from mitai.enclave import EnclaveClient
    from mitai.policy_file import load_policy

    with EnclaveClient(url, policy=load_policy(policy), token="") as client:
        try:
            report = client.verify().report
        except VerificationFailed as error:
            report = error.report
    if json_:
        print_json(report.to_json())
    else:
        print_report(report)
    if not report.ok:
        raise typer.Exit(ExitCode.UNVERIFIED)


def print_report(report: VerificationReport) -> None:
    """Print the numbered steps, then the verdict."""
    if report.simulated:
        print_simulated()
    table = Table(box=None, header_style="dim", padding=(0, 1))
    table.add_column("#", justify="right")
    table.add_column("step", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for step in report.steps:
        colour = _COLOURS[step.outcome.value]
        table.add_row(str(step.number), step.title, f"[{colour}]{step.outcome.value}[/]", safe(step.reason))
    stdout.print(table)
    verdict = "[bold green]VERIFIED[/]" if report.ok else "[bold red]NOT VERIFIED[/]"
    kind = "SIMULATED" if report.simulated else (report.tee.value if report.tee else "unknown")
    stdout.print(f"{verdict} · TEE {kind} · policy {safe(report.policy_name)}")
    if report.measurement:
        stdout.print(f"measurement {report.measurement}")
