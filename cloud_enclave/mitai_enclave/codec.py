"""How does a frozen dataclass become bytes for the other process, and the other process's bytes one again?

Strict JSON in canonical form with exactly the members of the class (`docs/spec/replicas.md` §3): a text has one
meaning, a value one text, and nothing is looked up by a name that the peer chose, but for `op` in a closed table.
"""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Final, TypeVar, cast, get_args, get_origin, get_type_hints

from mitai_crypto.strict_json import JsonObject, JsonValue, encode_canonical, parse_canonical
from mitai_enclave.errors import ChannelBroken, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*")
_T = TypeVar("_T")


def encode(op: str, message: object) -> bytes:
    """Write a message.

    Args:
        op: Its name.
        message: An instance of a dataclass whose fields are `int`, `bool`, `str`, `bytes`, enumerations, dataclasses
            of such, tuples of one kind, or one of these or None.
    """
    return encode_canonical({"v": VERSION, "op": op, **_write_fields(message)})


def decode(data: bytes, kinds: Mapping[str, type[_T]], *, max_bytes: int) -> _T:
    """Read a message of one of `kinds`, by its `op`.

    Raises:
        ChannelBroken: It is anything else.
    """
    document = parse_canonical(data, max_bytes=max_bytes, error=ChannelBroken)
    version, op = document.pop("v", None), document.pop("op", None)
    kind = kinds.get(op) if isinstance(op, str) else None
    if type(version) is not int or version != VERSION or kind is None:
        raise ChannelBroken("A message of another version or of no known kind.")
    return cast("_T", _read_fields(document, kind))


def _write_fields(value: object) -> JsonObject:
    names = (field.name for field in dataclasses.fields(value))  # type: ignore[arg-type] # the caller gave a dataclass
    return {name: _write(getattr(value, name)) for name in names}


def _write(value: object) -> JsonValue:
    if isinstance(value, Enum):
        return cast("JsonValue", value.value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_write(entry) for entry in value]
    return _write_fields(value)


@cache
def _hints(kind: type) -> dict[str, object]:
    return get_type_hints(kind)


def _read_fields(document: JsonObject, kind: type) -> object:
    hints = _hints(kind)
    if document.keys() != hints.keys():
        raise ChannelBroken(f"The members are not those of {kind.__name__}.")
    try:
        return kind(**{name: _read(document[name], hint) for name, hint in hints.items()})
    except (ValueError, ConfigurationError) as error:
        raise ChannelBroken(f"A member of {kind.__name__} is out of range.") from error


def _read(value: JsonValue, hint: object) -> object:
    """Read one value as `hint` demands."""
    if isinstance(hint, UnionType):
        if value is None and NoneType in get_args(hint):
            return None
        (hint,) = (one for one in get_args(hint) if one is not NoneType)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ChannelBroken("A list is missing.")
        return tuple(_read(entry, get_args(hint)[0]) for entry in value)
    kind = cast("type", hint)
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ChannelBroken("An object is missing.")
        return _read_fields(value, kind)
    return _read_scalar(value, kind)


def _read_scalar(value: JsonValue, kind: type) -> object:
    if kind is bytes:
        if not isinstance(value, str) or not _HEX.fullmatch(value):
            raise ChannelBroken("Bytes are not lower-case hex.")
        return bytes.fromhex(value)
    if issubclass(kind, Enum):
        return kind(value)
    if type(value) is not kind or (kind is int and cast("int", value) < 0):
        raise ChannelBroken(f"A value is no {kind.__name__}.")
    return value
