"""To which size is a message padded? Pure arithmetic of `docs/spec/sizes.md`."""

from __future__ import annotations

from mitai_crypto.labels import (
    BYTES_PER_TOKEN,
    DEFAULT_REQUEST_BYTES,
    LARGEST_CLASS_BYTES,
    MAX_PADDED_BYTES,
    MAX_RESPONSE_BYTES,
    REQUEST_OVERHEAD_BYTES,
)


def power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least `size`, and at least 1."""
    return 1 << max(0, size - 1).bit_length()


def request_class(size: int, floor: int = DEFAULT_REQUEST_BYTES) -> int:
    """Return the padded length of a Binary HTTP request of `size` bytes (`docs/spec/sizes.md` §1).

    A request over the largest class gets no padding: it is over the cap of a sealed request as well.
    """
    if size <= floor:
        return floor
    if size > MAX_PADDED_BYTES:
        return max(size, LARGEST_CLASS_BYTES)
    return power_of_two(size)


def request_floor(prompt_tokens: int) -> int:
    """Return the class that holds any prompt of `prompt_tokens` tokens (§1)."""
    needed = power_of_two(max(0, prompt_tokens) * BYTES_PER_TOKEN + REQUEST_OVERHEAD_BYTES)
    return min(needed, MAX_PADDED_BYTES)


def answer_class(size: int, floor: int) -> int:
    """Return the padded length of a whole Binary HTTP answer of `size` bytes (§3)."""
    return max(size, min(power_of_two(max(size, floor)), MAX_RESPONSE_BYTES // 2))
