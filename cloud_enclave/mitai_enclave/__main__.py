"""Run the command line as `python -m mitai_enclave`."""

from __future__ import annotations

from mitai_enclave.cli import main

if __name__ == "__main__":
    main()
