"""`mitai verify`: appraise an enclave's evidence, fetched or saved, and show every numbered step."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mitai.cli.exit_codes import ExitCode
from mitai.cli.options import JsonOption, PolicyOption
from mitai.cli.output import print_json
from mitai.cli.verify_view import Shown, print_report, shown_as_json
from mitai.errors import EvidenceError, VerificationFailed

if TYPE_CHECKING:
    from mitai_crypto.policy import TrustPolicy

EXAMPLES = (
    "Example: mitai verify https://enclave.example --policy policy.toml · "
    "mitai verify https://enclave.example --policy policy.toml --bundle evidence.json · "
    "mitai verify --bundle evidence.json --policy policy.toml --json"
)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([Zz]|[+-]\d\d:\d\d)")
_LAST_MOMENT = 253_402_300_799
_FETCHED = "evidence was fetched now, with a nonce of this device"


def verify(
    context: typer.Context,
    policy: PolicyOption,
    url: Annotated[
        str | None,
        typer.Argument(help="Address of the enclave; leave it out to read --bundle.", envvar="MITAI_ENCLAVE"),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", help="With URL: save the evidence here. Without: appraise what was saved, offline."),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option("--now", help="Appraise saved evidence as of this time (RFC 3339 or Unix).", metavar="TIME"),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Appraise evidence in 13 steps; no question or document is sent.

    With --bundle, only an address on the command line is fetched from: MITAI_ENCLAVE is not looked at.
    Exit code 0 only when every mandatory step passed.
    """
    from mitai.policy_file import load_policy

    source = context.get_parameter_source("url")
    if bundle is not None and source is not None and source.name == "ENVIRONMENT":
        url = None  # who names a file to read must not be sent to the network by a variable
    if url is not None and now is not None:
        raise typer.BadParameter("it is for saved evidence; fetched evidence is of now", param_hint="--now")
    moment = None if now is None else _parse_time(now)
    if url is not None:
        shown = _fetch(url, load_policy(policy), bundle)
    elif bundle is not None:
        shown = _load(bundle, load_policy(policy), moment)
    else:
        raise typer.BadParameter("an address or --bundle FILE is needed", param_hint="URL")
    if json_:
        print_json(shown_as_json(shown))
    else:
        print_report(shown.report, notes=shown.notes)
    if not shown.report.ok:
        raise typer.Exit(ExitCode.UNVERIFIED)


def _fetch(url: str, policy: TrustPolicy, bundle: Path | None) -> Shown:
    from mitai.enclave import EnclaveClient
    from mitai.evidence_file import save_evidence

    if bundle is not None and bundle.exists():
        raise EvidenceError(f"{bundle} exists already", hint="Evidence is never overwritten: name a new file.")
    result = None
    with EnclaveClient(url, policy=policy, token="") as client:
        try:
            result = client.verify()
            report = result.report
        except VerificationFailed as error:
            report = error.report
        evidence = client.evidence
    if bundle is not None and evidence is not None:
        save_evidence(bundle, evidence)
    return Shown(report, result, evidence, "fetched", (_FETCHED,))


def _load(bundle: Path, policy: TrustPolicy, now: int | None) -> Shown:
    from mitai.evidence_file import load_evidence
    from mitai_crypto.verify import appraise

    evidence = load_evidence(bundle)
    moment = evidence.time if now is None else now
    report, result = appraise(evidence.bundle, nonce=evidence.nonce, policy=policy, now=moment)
    chosen = "the time that was saved with it" if now is None else "the time given by --now"
    notes = (
        f"saved evidence, appraised as of {datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}, {chosen}",
        "whoever saved it chose the nonce: to anybody else this does not show when the enclave answered",
    )
    return Shown(report, result, evidence, "saved", notes)


def _parse_time(text: str) -> int:
    try:
        if text.isascii() and text.isdecimal():
            moment = int(text)
        elif _RFC3339.fullmatch(text):
            moment = int(datetime.fromisoformat(text.upper()).timestamp())
        else:
            moment = -1
    except (ValueError, OverflowError):
        moment = -1
    if not 0 <= moment <= _LAST_MOMENT:
        raise typer.BadParameter("write 2026-01-05T08:00:00Z or seconds since 1970", param_hint="--now")
    return moment
