"""The `mitai` command."""

from mitai.cli.app import main

__all__ = ["main"]
