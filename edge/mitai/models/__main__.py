"""Run `python -m mitai.models`."""

from mitai.models.cli import main

main()
