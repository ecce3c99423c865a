"""The errors of the simulated TEE.

MitaiError
└── SimulationError      the launcher cannot do what was asked
    ├── StateError       the machine's root is damaged, or somebody else could read it
    ├── CommandRefused   the command is not one that may be launched
    ├── MeasureError     something that has to be measured cannot be read
    ├── Unsupported      this operating system has not what the launcher needs
    └── RequestRefused   a request on the socket is malformed or comes from a stranger
"""

from __future__ import annotations

from mitai_crypto.errors import MitaiError


class SimulationError(MitaiError):
    """The launcher cannot do what was asked."""


class StateError(SimulationError):
    """The machine's root is damaged, or somebody else could read it."""


class CommandRefused(SimulationError):
    """The command is not one that may be launched."""

    default_hint = "Example: mitai-sim run -- mitai-enclave serve --tee simulated …"


class MeasureError(SimulationError):
    """Something that has to be measured cannot be read."""


class Unsupported(SimulationError):
    """This operating system has not what the launcher needs."""

    default_hint = "The simulated TEE needs Linux (SO_PEERCRED, /proc, PR_SET_PDEATHSIG)."


class RequestRefused(SimulationError):
    """A request on the launcher's socket is malformed or comes from a stranger."""
