"""What keeper and worker say to each other."""

from __future__ import annotations

from target import Target

from mitai_crypto.kem import Kem
from mitai_enclave import messages
from mitai_enclave.codec import decode, encode
from mitai_enclave.errors import ChannelBroken
from support.workers import WELCOME

NAMES = {kind: name for table in (messages.TO_KEEPER, messages.TO_WORKER) for name, kind in table.items()}
TABLES = (messages.TO_KEEPER, messages.TO_WORKER)
EXAMPLES = (
    WELCOME,
    messages.AskAdmission(3, bytes(32), bytes(32), "张三", bytes(16)),
    messages.KeyRing(1, (messages.RingKey(255, Kem.X25519, bytes(32), b"\1" * 32, 2**50),), 0),
    messages.Verdict(3, admitted=False, refusal=messages.Refusal(503, "overloaded", "太多請求")),
    messages.Evidence(5, b"bundle", None),
    messages.Release(messages.SlotKind.RUNNING),
)


def read(data: bytes) -> None:
    """Read a message towards the side that the first byte names; there is one way to write it."""
    side = data[0] % 2 if data else 0
    message = decode(data[1:], TABLES[side], max_bytes=messages.MAX_TO_KEEPER)
    assert encode(NAMES[type(message)], message) == data[1:]


def seeds() -> list[bytes]:
    """Return messages of both sides."""
    return [bytes([side]) + encode(NAMES[type(message)], message) for message in EXAMPLES for side in (0, 1)]


TARGET = Target(read, ChannelBroken, seeds, factor=200)
