"""How does a process that holds keys keep its memory to itself? (`docs/spec/knowledge_base.md` §3).

Linux: no core dump, no `ptrace` and no `/proc/PID/mem` for other processes of the same user. Elsewhere: no core dump,
where the platform has limits. Not covered anywhere: root, swap, hibernation. A program started with `exec` is dumpable
again; a forked child is not.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import dataclass

_PR_GET_DUMPABLE = 3  # linux/prctl.h
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True)
class Hardening:
    """What was achieved.

    Attributes:
        core_dumps_off: The core size limit is zero, for this process and its children.
        not_dumpable: Other processes of the same user cannot read this one's memory.
    """

    core_dumps_off: bool
    not_dumpable: bool


def harden_process() -> Hardening:
    """Switch core dumps off and make the process not dumpable, as far as the platform can; repeating it is harmless."""
    return Hardening(core_dumps_off=_core_dumps_off(), not_dumpable=_not_dumpable())


def _core_dumps_off() -> bool:
    try:
        import resource  # noqa: PLC0415 - the module does not exist on Windows
    except ImportError:
        return False
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return True


def _not_dumpable() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    zeros = (ctypes.c_ulong(0),) * 3
    libc.prctl(_PR_SET_DUMPABLE, ctypes.c_ulong(0), *zeros)
    return bool(libc.prctl(_PR_GET_DUMPABLE, ctypes.c_ulong(0), *zeros) == 0)
