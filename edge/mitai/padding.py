"""What may the sizes on the wire show? The device's choice, one for everything that a client sends.

Spec: `docs/spec/sizes.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mitai.errors import PaddingError
from mitai_crypto.labels import (
    CADENCE_HEADER,
    DEFAULT_REQUEST_BYTES,
    MAX_CADENCE_MILLISECONDS,
    MAX_PADDED_BYTES,
    MIN_CADENCE_MILLISECONDS,
    PADDING_HEADER,
    PADDING_NONE,
)
from mitai_crypto.padding import power_of_two, request_class, request_floor

if TYPE_CHECKING:
    from mitai_crypto.bhttp import Field


@dataclass(frozen=True)
class Padding:
    """How sizes are hidden. The default pads both directions; `UNPADDED` shows them as they are.

    Attributes:
        request_bytes: Size of a request before sealing, a power of two; a longer one gets the next power of two.
        cadence: Milliseconds between two frames of a stream, 10 to 1000; None to send each event when it comes.
        padded: Whether sizes are padded at all.

    Raises:
        PaddingError: A value is out of range.
    """

    request_bytes: int = DEFAULT_REQUEST_BYTES
    cadence: int | None = None
    padded: bool = True

    def __post_init__(self) -> None:
        if self.request_bytes != power_of_two(self.request_bytes) or self.request_bytes > MAX_PADDED_BYTES:
            raise PaddingError(f"The size of a request is a power of two, at most {MAX_PADDED_BYTES} bytes.")
        if self.cadence is None:
            return
        if not self.padded or not MIN_CADENCE_MILLISECONDS <= self.cadence <= MAX_CADENCE_MILLISECONDS:
            raise PaddingError(
                f"A cadence is {MIN_CADENCE_MILLISECONDS} to {MAX_CADENCE_MILLISECONDS} milliseconds, with padding on."
            )

    def for_prompt(self, tokens: int) -> Padding:
        """Return this padding for prompts of at most `tokens` tokens: one size for all of them."""
        return replace(self, request_bytes=max(self.request_bytes, request_floor(tokens)))

    def pad(self, message: bytes) -> bytes:
        """Return an encoded Binary HTTP request with the zero bytes that bring it to its class."""
        return (
            message + bytes(request_class(len(message), self.request_bytes) - len(message)) if self.padded else message
        )

    def fields(self) -> tuple[Field, ...]:
        """Return the fields that ask the enclave for the same."""
        if not self.padded:
            return ((PADDING_HEADER, PADDING_NONE),)
        return () if self.cadence is None else ((CADENCE_HEADER, b"%d" % self.cadence),)


PADDED: Final = Padding()
UNPADDED: Final = Padding(padded=False)
