"""How are the fields of an untrusted object taken, so that none is missing, mistyped or left over?"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from mitai_crypto.errors import EvidenceError, MitaiError
from mitai_crypto.labels import MAX_JSON_INTEGER, MAX_NAME_CHARACTERS, MAX_TEXT_CHARACTERS

_HEX: Final = frozenset("0123456789abcdef")


class Fields:
    """Take named values from an object with their types checked; `finish` refuses what nobody asked for.

    Every method that takes a field raises the error class given here, with the field's path in its message.
    """

    def __init__(self, value: object, *, where: str, error: type[MitaiError] = EvidenceError) -> None:
        if not isinstance(value, Mapping):
            raise error(f"{where} is not an object")
        self._left: dict[object, object] = dict(value)
        self._where = where
        self._error = error

    def finish(self) -> None:
        """Refuse every field that has not been taken."""
        if self._left:
            names = ", ".join(sorted(repr(name) for name in self._left))
            raise self._error(
                f"{self._where} has the unknown field {names}", hint="Check the spelling against docs/spec."
            )

    def has(self, name: str) -> bool:
        """Tell whether a field is there and not yet taken."""
        return name in self._left

    def version(self, name: str, expected: int) -> None:
        """Take a version and refuse every other than the one we write."""
        if self.integer(name) != expected:
            raise self._fail(name, f"must be {expected}")

    def integer(self, name: str, *, least: int = 0, most: int = MAX_JSON_INTEGER) -> int:
        """Take an integer in a closed range."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._fail(name, f"must be an integer from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        """Take true or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self._fail(name, "must be true or false")
        return value

    def name(self, name: str) -> str:
        """Take a name that people read: 1–200 printable characters."""
        return self.checked_name(self.take(name), name)

    def text(self, name: str) -> str:
        """Take any text of at most `MAX_TEXT_CHARACTERS`, which must not be shown unescaped."""
        value = self.take(name)
        if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS:
            raise self._fail(name, f"must be text of at most {MAX_TEXT_CHARACTERS} characters")
        return value

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Take one of the given words."""
        return self.checked_choice(self.take(name), name, allowed)

    def digest(self, name: str, size: int = 32) -> str:
        """Take `size` bytes of lower-case hex."""
        return self.checked_hex(self.take(name), name, size, size)

    def base64(self, name: str) -> bytes:
        """Take bytes in padded base64 that is the only encoding of those bytes."""
        value = self.take(name)
        if isinstance(value, str):
            try:
                decoded = base64.b64decode(value, validate=True)
            except (binascii.Error, ValueError):
                decoded = None
            if decoded is not None and base64.b64encode(decoded).decode() == value:
                return decoded
        raise self._fail(name, "must be padded standard base64")

    def inner(self, name: str) -> Fields:
        """Take an object, whose own fields must then be taken."""
        return Fields(self.take(name), where=self.path(name), error=self._error)

    def array(self, name: str, *, least: int = 1, most: int) -> list[object]:
        """Take a list with a bounded number of items."""
        value = self.take(name)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise self._fail(name, f"must be a list of {least} to {most} items")
        return list(value)

    def null(self, name: str) -> bool:
        """Take the field if it is null and tell so; otherwise leave it to be taken."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return True
        return False

    def take(self, name: str) -> object:
        """Take a required field as it is."""
        if name not in self._left:
            raise self._error(f"{self._where} has no field {name!r}")
        return self._left.pop(name)

    def path(self, name: str) -> str:
        """Name a field for a message."""
        return f"{self._where}.{name}"

    def checked_name(self, value: object, name: str) -> str:
        """Check a name that was taken by other means, as an item of a list."""
        if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_CHARACTERS:
            raise self._fail(name, f"must be 1 to {MAX_NAME_CHARACTERS} printable characters")
        return value

    def checked_choice(self, value: object, name: str, allowed: tuple[str, ...]) -> str:
        """Check a word that was taken by other means."""
        if not isinstance(value, str) or value not in allowed:
            raise self._fail(name, f"must be one of {', '.join(allowed)}")
        return value

    def checked_hex(self, value: object, name: str, least: int, most: int) -> str:
        """Check lower-case hex of `least` to `most` bytes that was taken by other means."""
        if (
            not isinstance(value, str)
            or len(value) % 2
            or not 2 * least <= len(value) <= 2 * most
            or not _HEX.issuperset(value)
        ):
            size = str(least) if least == most else f"{least} to {most}"
            raise self._fail(name, f"must be {size} bytes of lower-case hex")
        return value

    def _fail(self, name: str, rule: str) -> MitaiError:
        return self._error(f"{self.path(name)} {rule}")
