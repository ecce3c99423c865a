"""`python -m mitai.cli` is the `mitai` command."""

from mitai.cli.app import main

main()
