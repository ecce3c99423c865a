"""`mitai demo`: the main job, end to end, on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = "Example: mitai demo · mitai demo --keep"


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running and print the commands to go on by hand.")
    ] = False,
    documents: Annotated[
        Path, typer.Option("--documents", help="The folder to ask about.", exists=True, file_okay=False)
    ] = Path("examples/documents"),
    questions: Annotated[
        Path, typer.Option("--questions", help="The questions (TOML).", exists=True, dir_okay=False)
    ] = Path("examples/questions.toml"),
) -> None:
    """Start a simulated enclave, fill a knowledge base, verify, ask three questions; show what left and was seen."""
    from mitai.cli.demo.show import run

    run(documents, questions, keep=keep)
