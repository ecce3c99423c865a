"""Give up what a parser does not need: files, sockets, other processes, unbounded memory (§8).

A seccomp filter cannot be taken off and needs no privilege. It is an allow-list: what it does not name fails
with EPERM. The numbers are those of the kernel's tables (`arch/x86/entry/syscalls/syscall_64.tbl` and, for
AArch64, `include/uapi/asm-generic/unistd.h`).
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys
from pathlib import Path
from typing import Final

from mitai_ingest.limits import CHILD_CPU_SECONDS

_PR_SET_DUMPABLE: Final = 4
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_MODE_FILTER: Final = 2

_LOAD_WORD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JUMP_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER_OFFSET: Final = 0  # of `nr` in struct seccomp_data
_ARCHITECTURE_OFFSET: Final = 4
_ALLOW: Final = 0x7FFF_0000
_REFUSE: Final = 0x0005_0001  # SECCOMP_RET_ERRNO | EPERM


# Audit identity of an architecture, and its column in the table below.
_ARCHITECTURES: Final = {"x86_64": (0xC000_003E, 0), "aarch64": (0xC000_00B7, 1)}
_ALLOWED: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "fstat": (5, 80),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "setitimer": (38, 103),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "sched_yield": (24, 124),
    "futex": (202, 98),
    "rseq": (334, 293),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "getrandom": (318, 278),
    "exit": (60, 93),
    "exit_group": (231, 94),
}


def confine(memory_bytes: int) -> bool:
    """Give up everything but computing and the pipes that are open, for the rest of this process.

    Args:
        memory_bytes: Address space that stays.

    Returns:
        Whether files, network and processes are out of reach: False where the platform has no seccomp.
    """
    if sys.platform == "win32":
        return False
    _limit_resources(memory_bytes)
    if sys.platform != "linux":
        return False
    architecture = _ARCHITECTURES.get(platform.machine())
    threads = sum(1 for _ in Path("/proc/self/task").iterdir())
    if architecture is None or threads != 1:  # the filter binds the thread that sets it
        return False
    audit, column = architecture
    return _filter_system_calls(audit, sorted(numbers[column] for numbers in _ALLOWED.values()))


def _limit_resources(memory_bytes: int) -> None:
    import resource  # noqa: PLC0415 - POSIX only

    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, CHILD_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        within = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (within, within))


def _filter_system_calls(audit: int, allowed: list[int]) -> bool:
    program = [
        _instruction(_LOAD_WORD, _ARCHITECTURE_OFFSET),
        _instruction(_JUMP_IF_EQUAL, audit, jump_true=1),
        _instruction(_RETURN, _REFUSE),
        _instruction(_LOAD_WORD, _NUMBER_OFFSET),
    ]
    for number in allowed:
        program += [_instruction(_JUMP_IF_EQUAL, number, jump_false=1), _instruction(_RETURN, _ALLOW)]
    program.append(_instruction(_RETURN, _REFUSE))
    code = ctypes.create_string_buffer(b"".join(program))
    # struct sock_fprog: a 16-bit length, padding to a pointer, the pointer
    filter_program = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(filter_program), 0, 0) == 0)


def _instruction(code: int, value: int, *, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, jump_true, jump_false, value)  # struct sock_filter
