"""How is JSON from a stranger read, and JSON to be hashed or signed written? (`docs/spec/evidence.md` §1)."""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Final, TypeAlias, cast

from mitai_crypto.errors import EvidenceError, MitaiError
from mitai_crypto.labels import MAX_JSON_DEPTH, MAX_JSON_INTEGER, MAX_JSON_VALUES

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
JsonObject: TypeAlias = dict[str, JsonValue]


class _Refused(Exception):
    """A rule beyond JSON's own grammar is broken."""


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_ESCAPED_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# One match for each name and value of a well-formed document: a text, an opening bracket, anything else.
_VALUE: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?+|[\[{]|[^\s"\[\]{},:]++', re.DOTALL)


def parse_object(
    data: bytes, *, max_bytes: int, floats: bool = False, error: type[MitaiError] = EvidenceError
) -> JsonObject:
    """Read one JSON object by the strict rules.

    Args:
        data: Untrusted bytes.
        max_bytes: Longer input is refused before it is looked at.
        floats: Whether numbers with a fraction or an exponent are welcome. Infinity and NaN never are.
        error: The class of error that this caller promises.

    Raises:
        MitaiError: (as `error`) whatever is wrong with the bytes.
    """
    if len(data) > max_bytes:
        raise error(f"JSON of {len(data)} bytes is over the limit of {max_bytes}")
    if holds_too_many(data):
        raise error("JSON holds too many values")
    try:
        value: object = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite if floats else _refuse_float,
            parse_int=_small_integer,
        )
    except _Refused as reason:
        raise error(f"JSON is refused: {reason}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as reason:
        raise error(f"JSON is malformed: {type(reason).__name__}") from None
    except RecursionError:
        raise error("JSON is nested too deeply") from None
    if not isinstance(value, dict):
        raise error("JSON is not an object")
    # Only an escape can write a lone surrogate, and nothing can be nested deeper than there are brackets.
    if _ESCAPED_SURROGATE.search(data) or data.count(b"[") + data.count(b"{") > MAX_JSON_DEPTH:
        _check_tree(value, error)
    return cast("JsonObject", value)


def holds_too_many(data: bytes) -> bool:
    """Tell whether a text holds more than `MAX_JSON_VALUES` names and values, before anything is built of it.

    Parsing makes an object of each, and nobody else is served meanwhile. What is no JSON may pass or not.
    """
    # Every name and every value but the first comes right behind one of these; inside texts they only add.
    most = 1 + sum(data.count(mark) for mark in (b",", b":", b"[", b"{"))
    if most <= MAX_JSON_VALUES:
        return False
    return next(islice(_VALUE.finditer(data), MAX_JSON_VALUES, None), None) is not None


def encode_canonical(value: JsonObject) -> bytes:
    """Encode with sorted names, no white space and UTF-8: one value, one text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def parse_canonical(data: bytes, *, max_bytes: int, error: type[MitaiError] = EvidenceError) -> JsonObject:
    """Read one JSON object that must be byte for byte its own canonical form.

    Raises:
        MitaiError: (as `error`) whatever is wrong with the bytes.
    """
    value = parse_object(data, max_bytes=max_bytes, error=error)
    if encode_canonical(value) != data:
        raise error("JSON is not in canonical form")
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("a name occurs twice in one object")
    return found


def _refuse_constant(name: str) -> None:
    raise _Refused(f"{name} is not a JSON number")


def _refuse_float(_: str) -> None:
    raise _Refused("a number is not an integer")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise _Refused("a number is out of range")
    return value


def _small_integer(text: str) -> int:
    if len(text) > len(str(-MAX_JSON_INTEGER)) or abs(value := int(text)) > MAX_JSON_INTEGER:
        raise _Refused("an integer is out of range")
    return value


def _check_tree(root: object, error: type[MitaiError]) -> None:
    """Refuse deep nesting and lone surrogates, without recursion of our own."""
    waiting: list[tuple[object, int]] = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str):
            if not value.isascii() and _SURROGATE.search(value):
                raise error("JSON is refused: a lone surrogate is not text")
        elif isinstance(value, (dict, list)):
            if depth > MAX_JSON_DEPTH:
                raise error("JSON is nested too deeply")
            waiting.extend((item, depth + 1) for item in value)
            if isinstance(value, dict):
                waiting.extend((item, depth + 1) for item in value.values())
