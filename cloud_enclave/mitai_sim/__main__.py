"""Run the command line by `python -m mitai_sim`."""

from mitai_sim.cli import main

if __name__ == "__main__":
    main()
