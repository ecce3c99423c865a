"""How does a passphrase become a key that is slow to guess? (`docs/spec/knowledge_base.md` §2.3).

RFC 8265 OpaqueString makes the same bytes of the same passphrase, whatever the keyboard; Argon2id (RFC 9106) makes
each guess dear.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from argon2.exceptions import Argon2Error
from argon2.low_level import Type, hash_secret_raw

from mitai.errors import KnowledgeBaseDamaged, KnowledgeBaseError, PassphraseRefused
from mitai.formats import (
    ARGON2_MAX_MEMORY_KIB,
    ARGON2_MIN_MEMORY_KIB,
    ARGON2_PARALLELISM,
    ARGON2_PARALLELISM_RANGE,
    ARGON2_TARGET_SECONDS,
    ARGON2_TIME_COST,
    ARGON2_TIME_COST_RANGE,
    ARGON2_VERSION,
    KEY_BYTES,
    MAX_PASSPHRASE_BYTES,
    SALT_BYTES,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Argon2Parameters:
    """How dear one guess is.

    Attributes:
        memory_kib: Memory in KiB, 65 536 to 1 048 576.
        time_cost: Passes over the memory, 3 to 16.
        parallelism: Lanes, 1 to 16.

    Raises:
        KnowledgeBaseDamaged: A value is out of its range. Checked before anything is derived: written by a stranger,
            a parameter could weaken a key or take a machine's memory.
    """

    memory_kib: int = ARGON2_MIN_MEMORY_KIB
    time_cost: int = ARGON2_TIME_COST
    parallelism: int = ARGON2_PARALLELISM

    def __post_init__(self) -> None:
        if not ARGON2_MIN_MEMORY_KIB <= self.memory_kib <= ARGON2_MAX_MEMORY_KIB:
            raise KnowledgeBaseDamaged(f"Argon2id memory of {self.memory_kib} KiB is out of range")
        if self.time_cost not in ARGON2_TIME_COST_RANGE:
            raise KnowledgeBaseDamaged(f"Argon2id time cost {self.time_cost} is out of range")
        if self.parallelism not in ARGON2_PARALLELISM_RANGE:
            raise KnowledgeBaseDamaged(f"Argon2id parallelism {self.parallelism} is out of range")


def passphrase_bytes(passphrase: str) -> bytes:
    """Return the bytes that are hashed: the OpaqueString form of a passphrase in UTF-8.

    Raises:
        PassphraseRefused: The text is empty, too long, or holds characters that RFC 8265 §4.2 forbids.
    """
    from precis_i18n import get_profile  # noqa: PLC0415 - 20 ms that only opening and creating need

    try:
        data: bytes = get_profile("OpaqueString").enforce(passphrase).encode()
    except UnicodeError:
        # The codec's message would quote the passphrase.
        raise PassphraseRefused("the passphrase is empty or holds a character that no passphrase can hold") from None
    if len(data) > MAX_PASSPHRASE_BYTES:
        raise PassphraseRefused(f"the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes")
    return data


def derive_key(passphrase: bytes, salt: bytes, parameters: Argon2Parameters) -> bytes:
    """Derive 32 bytes with Argon2id.

    Raises:
        KnowledgeBaseError: The machine cannot give the memory that the parameters ask for.
    """
    try:
        return hash_secret_raw(
            passphrase,
            salt,
            time_cost=parameters.time_cost,
            memory_cost=parameters.memory_kib,
            parallelism=parameters.parallelism,
            hash_len=KEY_BYTES,
            type=Type.ID,
            version=ARGON2_VERSION,
        )
    except Argon2Error:
        raise KnowledgeBaseError(
            f"deriving the key needs {parameters.memory_kib // 1024} MiB of memory, which this machine does not give",
            hint="Close other programs, or open the knowledge base through the keychain.",
        ) from None


def calibrate(
    *,
    derive: Callable[[bytes, bytes, Argon2Parameters], bytes] = derive_key,
    clock: Callable[[], float] = time.perf_counter,
) -> Argon2Parameters:
    """Choose parameters for this machine: memory doubles from the floor until one derivation takes half a second.

    Each doubling doubles the time, so the choice takes 0.5 to 1 s, unless the floor is slower or the cap faster.
    Memory that the machine does not give is not asked for again.
    """
    parameters = Argon2Parameters()
    salt = os.urandom(SALT_BYTES)
    while True:
        start = clock()
        derive(b"calibration", salt, parameters)
        if clock() - start >= ARGON2_TARGET_SECONDS or parameters.memory_kib * 2 > ARGON2_MAX_MEMORY_KIB:
            return parameters
        larger = replace(parameters, memory_kib=parameters.memory_kib * 2)
        try:
            derive(b"calibration", salt, larger)
        except KnowledgeBaseError:
            return parameters
        parameters = larger
