"""Which command may be launched, with which options and variables? (`docs/spec/simulated_tee.md` §5)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from mitai_sim.errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MODULES: Final[Mapping[str, str]] = {"mitai-enclave": "mitai_enclave"}
"""Command → the package that is run. Nothing is looked up on a path."""

OWN_PACKAGES: Final = ("mitai_crypto", "mitai_enclave")
"""The packages whose files are measured one by one."""

ENVIRONMENT: Final = frozenset(
    {
        "PATH",
        "LANG",
        "LC_ALL",
        "LC_CTYPE",
        "TZ",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_CPU_NUM_OF_RESERVED_CPU",
        "VLLM_CPU_SGL_KERNEL",
        "VLLM_CPU_MOE_PREPACK",
        "CUDA_VISIBLE_DEVICES",
        "HF_HOME",
    }
)
"""The variables that reach the child. None of them can make Python or the loader run other code."""

PRIVATE_FOLDER: Final = "PRIVATE"
"""Stands in the measurement for the bytecode folder, whose name differs each time."""


@dataclass(frozen=True)
class Command:
    """A command that has been accepted.

    Attributes:
        given: As on the command line, for instance `("mitai-enclave", "serve", …)`.
        environment: The allow-listed variables that are set.
        interpreter: Path of the Python that runs it.
    """

    given: tuple[str, ...]
    environment: Mapping[str, str]
    interpreter: str

    @property
    def argv(self) -> tuple[str, ...]:
        """What follows the interpreter's own options."""
        return ("-m", MODULES[self.given[0]], *self.given[1:])


def accept_command(given: Sequence[str], environment: Mapping[str, str]) -> Command:
    """Accept a command and keep of the environment what may reach it.

    Args:
        given: The command line after `--`.
        environment: Usually `os.environ`.

    Raises:
        CommandRefused: It is not one of `MODULES`.
    """
    if not given or given[0] not in MODULES:
        what = repr(given[0]) if given else "nothing"
        raise CommandRefused(f"{what} cannot be launched: the command must be {' or '.join(MODULES)}")
    kept = {name: value for name, value in environment.items() if name in ENVIRONMENT}
    return Command(tuple(given), dict(sorted(kept.items())), sys.executable)


def interpreter_options(bytecode: Path | str) -> tuple[str, ...]:
    """Return the options with which Python runs nothing that was not measured.

    Args:
        bytecode: A fresh private folder, so that no `.pyc` that lies beside a source file is read.
    """
    return ("-I", "-X", f"pycache_prefix={bytecode}")
