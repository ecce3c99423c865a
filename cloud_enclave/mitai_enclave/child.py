"""How is a Python process of ours started, so that it runs nothing but our source?

Isolated (`-I`: no `PYTHON*`, no user site, no current folder), and with a bytecode folder that is new and empty:
measured is our source, so a `.pyc` that lies beside it must not run.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def python_command(module: str, bytecode: Path) -> tuple[str, ...]:
    """Return the command that runs a module of ours, its arguments left out, and make its bytecode folder anew.

    Args:
        module: Dotted name.
        bytecode: The folder, in a place that only this user can enter; what is there is deleted.
    """
    shutil.rmtree(bytecode, ignore_errors=True)
    bytecode.mkdir(mode=0o700)
    return (sys.executable, "-I", "-X", f"pycache_prefix={bytecode}", "-m", module)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, also in the middle of a computation."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
