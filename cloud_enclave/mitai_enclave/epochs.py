"""Which keys open requests now, and what did they open?

An epoch lasts `rotation` seconds of the monotonic clock. Its keys open requests while it is current and for
one further rotation; then keys and replay set go together. Executions are remembered for longer, since a
resend comes under a later key. The next keys are announced one rotation ahead and
open nothing before their time. See `docs/spec/http.md` §7.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mitai_crypto.aead import Aead
from mitai_crypto.crypto_material import PublishedKey
from mitai_crypto.hpke import Kdf
from mitai_crypto.kem import PRIVATE_KEY_BYTES, Kem, PrivateKey, load_private_key
from mitai_crypto.ohttp import KeyConfig
from mitai_enclave.errors import KeyExpired, RequestRefused
from mitai_enclave.replay import BoundedSet, ExecutionMemory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KEY_IDS: Final = 256
SYMMETRIC: Final = {
    Kem.MLKEM768_X25519: ((Kdf.HKDF_SHA256, Aead.AES_256_GCM),),
    Kem.X25519: ((Kdf.HKDF_SHA256, Aead.AES_128_GCM), (Kdf.HKDF_SHA256, Aead.AES_256_GCM)),
}


@dataclass(frozen=True, slots=True, eq=False)
class EpochKey:
    """One key.

    Attributes:
        config: The public key configuration.
        private: The key that opens.
        seed: The 32 bytes that it is made from; they go to the workers of this replica and nowhere else.
        published: The configuration with its lifetime on the wall clock, as evidence shows it.
    """

    config: KeyConfig
    private: PrivateKey = field(repr=False)
    seed: bytes = field(repr=False)
    published: PublishedKey


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """The keys of one period and their memory.

    Attributes:
        keys: One for each KEM on offer.
        start: When it becomes current, on the monotonic clock.
        end: When it is dropped, on the monotonic clock.
        admitted: SHA-256(enc) of every request that was admitted under these keys.
    """

    keys: tuple[EpochKey, ...]
    start: float
    end: float
    admitted: BoundedSet = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class LiveEpoch:
    """An epoch that opens requests, with the evidence section of when it was current.

    Attributes:
        epoch: The keys and their memory.
        material: The exact bytes of `crypto_material` while these keys are current.
        material_digest: SHA-256 of `material`; goes into receipts.
    """

    epoch: Epoch
    material: bytes = field(repr=False)
    material_digest: bytes


class KeyEpochs:
    """The keys of one replica and their rotation.

    Args:
        kems: Which key encapsulations to offer, the preferred first.
        rotation: Seconds that an epoch is current.
        capacity: The most admitted requests of one epoch.
        describe: Builds `crypto_material` from the current keys followed by the next ones.
        prefix: What every key fingerprint begins with, in hex digits; 16 times more draws for each.
        monotonic: Clock that drives the rotation, in seconds.
        wall: Clock for the lifetimes shown in evidence, in Unix seconds.
    """

    def __init__(
        self,
        *,
        kems: Sequence[Kem],
        rotation: int,
        capacity: int,
        describe: Callable[[tuple[PublishedKey, ...]], bytes],
        prefix: str = "",
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._kems = tuple(kems)
        self._rotation = rotation
        self._capacity = capacity
        self._describe = describe
        self._prefix = prefix
        self._monotonic = monotonic
        self._wall = wall
        self._key_id = secrets.randbelow(_KEY_IDS)
        self._executed = ExecutionMemory(capacity)
        self._retired: LiveEpoch | None = None
        self._current, self._next = self._install(self._make(monotonic()))

    @property
    def current(self) -> LiveEpoch:
        """The epoch that evidence shows first."""
        self.advance()
        return self._current

    @property
    def opening(self) -> tuple[LiveEpoch, ...]:
        """The epochs whose keys open requests now: the current one, and the retired one where there is one."""
        self.advance()
        return (self._current,) if self._retired is None else (self._current, self._retired)

    @property
    def current_until(self) -> float:
        """When the current epoch ends to be the current one, on the monotonic clock."""
        self.advance()
        return self._next.start

    def find(self, key_id: int) -> tuple[LiveEpoch, EpochKey] | None:
        """Return the key with this id and its epoch, current or retired."""
        for live in self.opening:
            for key in live.epoch.keys:
                if key.config.key_id == key_id:
                    return live, key
        return None

    def admit(self, live: LiveEpoch, enc: bytes, principal: str, request_id: bytes) -> None:
        """Let a request run once: check both memories, then write both.

        Args:
            live: The epoch whose key opened it.
            enc: Its encapsulated key.
            principal: Whose request it is.
            request_id: 16 bytes that name the intended execution.

        Raises:
            KeyExpired: The key was dropped meanwhile.
            RequestRefused: 400, seen before; 503, no room to remember it. Nothing was recorded.
        """
        self.admit_digest(live.material_digest, hashlib.sha256(enc).digest(), principal, request_id)

    def admit_digest(self, epoch: bytes, digest: bytes, principal: str, request_id: bytes) -> None:
        """Do what `admit` does for a request that another process opened.

        Args:
            epoch: `material_digest` of the epoch whose key opened it.
            digest: SHA-256 of its encapsulated key.
            principal: Whose request it is.
            request_id: 16 bytes that name the intended execution.

        Raises:
            KeyExpired: As for `admit`.
            RequestRefused: As for `admit`.
        """
        live = next((one for one in self.opening if one.material_digest == epoch), None)
        if live is None:
            raise KeyExpired("The key that opened this request is no longer in use.")
        if digest in live.epoch.admitted:
            raise RequestRefused(400, "replayed_request", "This sealed request was already received.")
        # The id has a fixed length, so the pair is unambiguous.
        pair = hashlib.sha256(request_id + principal.encode()).digest()
        self._executed.verify_new(pair)
        live.epoch.admitted.verify_room()
        live.epoch.admitted.add(digest)
        self._executed.add(pair)

    def advance(self) -> None:
        """Rotate as far as the clock says and drop what has ended."""
        now = self._monotonic()
        if now >= self._current.epoch.end:
            # The process slept through everything: no key of before may live on, but executions are not forgotten.
            self._executed.rotate()
            self._retired = None
            self._current, self._next = self._install(self._make(now))
        elif now >= self._next.start:
            self._executed.rotate()
            self._retired = self._current
            self._current, self._next = self._install(self._next)
        if self._retired is not None and now >= self._retired.epoch.end:
            self._retired = None

    def _install(self, epoch: Epoch) -> tuple[LiveEpoch, Epoch]:
        """Make `epoch` the current one and a new one the next."""
        following = self._make(epoch.start + self._rotation)
        material = self._describe(tuple(key.published for key in (*epoch.keys, *following.keys)))
        return LiveEpoch(epoch, material, hashlib.sha256(material).digest()), following

    def _make(self, start: float) -> Epoch:
        not_before = int(self._wall() + start - self._monotonic())
        return Epoch(
            keys=tuple(self._make_key(kem, not_before) for kem in self._kems),
            start=start,
            end=start + 2 * self._rotation,
            admitted=BoundedSet(self._capacity),
        )

    def _make_key(self, kem: Kem, not_before: int) -> EpochKey:
        seed, private, config = self._draw(kem)
        self._key_id = (self._key_id + 1) % _KEY_IDS
        not_after = not_before + 2 * self._rotation
        return EpochKey(config, private, seed, PublishedKey(config.encode(), not_before, not_after))

    def _draw(self, kem: Kem) -> tuple[bytes, PrivateKey, KeyConfig]:
        """Draw keys until one has a fingerprint that begins as it should; each draw is independent."""
        while True:
            seed = secrets.token_bytes(PRIVATE_KEY_BYTES)
            private = load_private_key(kem, seed)
            config = KeyConfig(self._key_id, kem, private.public_bytes, SYMMETRIC[kem])
            if config.fingerprint.startswith(self._prefix):
                return seed, private, config
