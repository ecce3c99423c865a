"""`mitai policy`: write a trust policy from measured values, show one, and say what is weak in one."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mitai.cli.exit_codes import ExitCode
from mitai.cli.options import JsonOption
from mitai.cli.output import print_first_use, print_json, print_simulated, safe, stderr, stdout
from mitai.errors import PolicyError

app = typer.Typer(help="Trust policies: which enclave may be trusted.", no_args_is_help=True)
FileArgument = Annotated[Path, typer.Argument(help="The policy (TOML).")]
_STDIN = "-"
_COLOURS = {"error": "bold red", "warning": "yellow"}


@app.command(
    epilog="Example: mitai-sim measure … | mitai policy init --reference - --workload workload.json -o policy.toml"
)
def init(
    reference: Annotated[
        str | None, typer.Option("--reference", help="What `mitai-sim measure` printed; - for stdin.", metavar="FILE|-")
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option("--workload", help="What `mitai-enclave reference` printed; - for stdin.", metavar="FILE|-"),
    ] = None,
    first_use: Annotated[
        str | None,
        typer.Option(
            "--trust-on-first-use", help="Pin what this enclave shows, uncompared; never simulated.", metavar="URL"
        ),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Shown in every report.")] = "my enclave",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file; stdout if none is named.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a policy that accepts exactly what was measured, each field explained."""
    from mitai.policy_template import explain_policy
    from mitai_crypto.policy_toml import policy_from_reference

    if first_use is not None:
        if reference is not None or workload is not None:
            raise typer.BadParameter("a reference value needs no first use", param_hint="--trust-on-first-use")
        _refuse_first_use(first_use)
    if reference is None or workload is None or reference == workload == _STDIN:
        raise typer.BadParameter("both are needed, one of them from stdin at most", param_hint="--reference --workload")
    policy = policy_from_reference(name, _read(reference), _read(workload))
    text = explain_policy(policy)
    if output is None:
        sys.stdout.write(text)
        return
    _write(output, text, replace=force)
    stderr.print(f"policy {safe(policy.name)} written to {output} · digest {policy.digest}")


@app.command(epilog="Example: mitai policy show policy.toml --json")
def show(file: FileArgument, json_: JsonOption = False) -> None:
    """Show a policy and the digest by which reports and ledgers name it."""
    from mitai.policy_file import load_policy
    from mitai_crypto.evidence import TeeKind

    policy = load_policy(file)
    if json_:
        print_json({"digest": policy.digest, "policy": policy.to_json()})
        return
    if TeeKind.SIMULATED in policy.tee:
        print_simulated()
    stdout.print(safe(policy.encode()))
    if policy.trust_on_first_use:
        print_first_use()
    stdout.print(f"digest {policy.digest}")


@app.command(epilog="Example: mitai policy check policy.toml")
def check(file: FileArgument, json_: JsonOption = False) -> None:
    """Say what in a policy is weak, missing or about to end.

    Exit code 7 where it does not parse, or where no enclave can pass it.
    """
    from mitai.policy_file import load_policy
    from mitai.policy_lint import Level, lint_policy

    policy, now = load_policy(file), int(time.time())
    findings = lint_policy(policy, now=now)
    ok = all(finding.level is not Level.ERROR for finding in findings)
    if json_:
        told = [{"level": each.level.value, "field": each.field, "message": each.message} for each in findings]
        print_json({"ok": ok, "digest": policy.digest, "checked_at": now, "findings": told})
    else:
        for each in findings:
            stdout.print(f"[{_COLOURS[each.level.value]}]{each.level.value:>7}[/] {each.field}: {safe(each.message)}")
        verdict = "[bold green]OK[/]" if ok else "[bold red]NO ENCLAVE CAN PASS[/]"
        stdout.print(f"{verdict} · policy {safe(policy.name)} · {datetime.fromtimestamp(now, UTC):%Y-%m-%d}")
        stdout.print(f"digest {policy.digest}")
    if not ok:
        raise typer.Exit(ExitCode.UNVERIFIED)


def _refuse_first_use(url: str) -> None:
    """Look at what the enclave shows; nothing can be pinned yet, and a simulated enclave never.

    Raises:
        PolicyError: Always, with what can be done instead.
    """
    from mitai.enclave import fetch_evidence_unchecked
    from mitai_crypto.evidence import TeeKind, parse_bundle

    tee = parse_bundle(fetch_evidence_unchecked(url).bundle).tee
    if tee is TeeKind.SIMULATED:
        raise PolicyError(
            "a simulated enclave is never trusted on first use: anybody can make its root",
            hint="Measure it where it runs, with `mitai-sim measure`; then: mitai policy init --reference FILE …",
        )
    raise PolicyError(
        f"{tee} evidence is not supported yet, so nothing of it is verified and nothing can be pinned",
        hint="Wait for the hardware verifiers; a value that no signature vouches for would pin a forgery.",
    )


def _read(source: str) -> bytes:
    from mitai_crypto.labels import MAX_POLICY_BYTES

    if source == _STDIN:
        return sys.stdin.buffer.read(MAX_POLICY_BYTES + 1)
    try:
        with Path(source).open("rb") as stream:
            return stream.read(MAX_POLICY_BYTES + 1)
    except OSError as error:
        raise PolicyError(f"{source} cannot be read ({error.strerror})", hint="Check the path.") from None


def _write(path: Path, text: str, *, replace: bool) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new") if replace else path
    try:
        with fresh.open("x", encoding="utf-8") as stream:
            stream.write(text)
        if replace:
            fresh.replace(path)
    except OSError as error:
        raise PolicyError(
            f"{path} cannot be written ({error.strerror})", hint="Name another file, or replace it with --force."
        ) from None
