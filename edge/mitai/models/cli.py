"""`python -m mitai.models`: fetch, list and verify the pinned models. Results on standard output, progress on error."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from mitai.models import known_models, locked_model, models_directory
from mitai.models.lock import LockedModel
from mitai_crypto.errors import MitaiError

app = typer.Typer(
    name="models",
    help="Fetch, list and verify the pinned models. They are data: nothing of them is installed or run.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which models; all where none is named.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("fetch")
def fetch(names: Names = None) -> None:
    """Bring models to this machine: download, check, unpack, check again. What is there already is only checked."""
    from mitai.models.install import install_model

    for model in _chosen(names):
        print(install_model(model, _report))


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models of the lock file and whether each is on this machine (its content is not read)."""
    rows = [_row(model) for model in known_models()]
    if as_json:
        print(json.dumps(rows))
        return
    for row in rows:
        place = row["path"] if row["present"] else "not fetched"
        print(f"{row['name']:<24} {row['kind']:<10} {row['licence']:<12} {place}")


@app.command("verify")
def verify(names: Names = None) -> None:
    """Compare every byte of the models on this machine with the lock file."""
    from mitai.models.install import verify_model

    for model in _chosen(names):
        print(f"{verify_model(model)}  {model.digest}")


def main() -> None:
    """Run the command; an error of ours becomes its message, its hint and exit code 1."""
    try:
        app()
    except MitaiError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        raise SystemExit(1) from None


def _chosen(names: list[str] | None) -> list[LockedModel]:
    return [locked_model(name) for name in names] if names else list(known_models())


def _row(model: LockedModel) -> dict[str, str | bool]:
    path = models_directory() / model.name
    return {
        "name": model.name,
        "kind": model.kind.value,
        "licence": model.licence,
        "source": model.requirement,
        "digest": model.digest,
        "path": str(path),
        "present": path.is_dir(),
    }


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
