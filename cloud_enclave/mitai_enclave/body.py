"""Is this body allowed to reach the engine, and what does the engine get instead of it?

The engine never sees the client's bytes: it gets a new document, written from the checked value.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mitai_crypto.strict_json import parse_object
from mitai_enclave.errors import EnclaveError, RequestRefused
from mitai_enclave.routes import RouteClass

if TYPE_CHECKING:
    from collections.abc import Container

    from mitai_crypto.strict_json import JsonObject, JsonValue
    from mitai_enclave.routes import Route

_MESSAGE_FIELDS: Final = frozenset({"content", "name", "refusal", "role", "tool_call_id", "tool_calls"})
_RESPONSE_FORMATS: Final = frozenset({"json_object", "json_schema", "text"})
_MAX_CHOICES: Final = 8


class _NotJson(EnclaveError):
    """The body is no strict JSON object; becomes a `RequestRefused` here."""


def parse_body(route: Route, content: bytes, *, max_bytes: int, model: str, harmful: Container[str] = ()) -> JsonObject:
    """Parse and check the body of a request.

    Args:
        route: Where it goes.
        content: The inner request's content.
        max_bytes: The most bytes it may have.
        model: The only model name that is served.
        harmful: Fields of the route that this engine does not bear.

    Raises:
        RequestRefused: 400 or 404, with the field at fault.
    """
    try:
        body = parse_object(content, max_bytes=max_bytes, floats=True, error=_NotJson)
    except _NotJson as error:
        raise RequestRefused(400, "invalid_json", f"The body is not accepted: {error}.") from None
    for name in body:
        if name not in route.fields or name in harmful:
            raise RequestRefused(400, "unsupported_parameter", "This field is not let through.", param=name)
    if body.get("model") != model:
        raise RequestRefused(404, "model_not_found", f"This enclave serves the model {model}.", param="model")
    _check_stream(body)
    _check_choices(body)
    if route.kind is RouteClass.CHAT:
        _check_messages(body.get("messages"))
        _check_response_format(body.get("response_format"))
    elif route.kind is RouteClass.COMPLETIONS:
        _check_input(body.get("prompt"), "prompt")
    elif route.kind is RouteClass.EMBEDDINGS:
        _check_input(body.get("input"), "input")
    return body


def write_body(body: JsonObject, salt: str) -> bytes:
    """Write the document that goes to the engine.

    Args:
        body: What `parse_body` returned; left as it is.
        salt: The cache salt of this request's principal.
    """
    forwarded = {name: value for name, value in body.items() if name != "user"}
    forwarded["cache_salt"] = salt
    if forwarded.get("stream") is True:
        forwarded["stream_options"] = {"include_usage": True}
    else:
        forwarded.pop("stream_options", None)
    return json.dumps(forwarded, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def wants_stream(body: JsonObject) -> bool:
    """Tell whether the client asked for server-sent events."""
    return body.get("stream") is True


def _invalid(param: str, rule: str) -> RequestRefused:
    return RequestRefused(400, "invalid_value", f"{param} {rule}", param=param)


def _check_stream(body: JsonObject) -> None:
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _invalid("stream", "must be true or false.")
    options = body.get("stream_options")
    if options is None:
        return
    if stream is not True:
        raise _invalid("stream_options", "is only allowed with stream.")
    if not isinstance(options, dict) or not options.keys() <= {"include_usage"}:
        raise _invalid("stream_options", "may hold include_usage only.")
    if not isinstance(options.get("include_usage", False), bool):
        raise _invalid("stream_options.include_usage", "must be true or false.")


def _check_choices(body: JsonObject) -> None:
    choices = body.get("n", 1)
    if choices is not None and (type(choices) is not int or not 1 <= choices <= _MAX_CHOICES):
        raise _invalid("n", f"must be an integer from 1 to {_MAX_CHOICES}.")


def _check_messages(messages: JsonValue) -> None:
    if not isinstance(messages, list) or not messages:
        raise _invalid("messages", "must be a list with at least one message.")
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _invalid(where, "must be an object.")
        for name in message:
            if name not in _MESSAGE_FIELDS:
                raise RequestRefused(
                    400, "unsupported_parameter", "This field is not let through.", param=f"{where}.{name}"
                )
        if not isinstance(message.get("role"), str):
            raise _invalid(f"{where}.role", "must be a string.")
        _check_content(message.get("content"), f"{where}.content")


def _check_content(content: JsonValue, where: str) -> None:
    if content is None or isinstance(content, str):
        return
    if not isinstance(content, list):
        raise _invalid(where, "must be text or a list of text parts.")
    for index, part in enumerate(content):
        is_text = (
            isinstance(part, dict)
            and part.keys() == {"type", "text"}
            and part["type"] == "text"
            and isinstance(part["text"], str)
        )
        if not is_text:
            raise _invalid(f"{where}[{index}]", 'must be {"type": "text", "text": …}; no media is fetched here.')


def _check_input(value: JsonValue, where: str) -> None:
    """Check text or tokens, one or many: an engine reads anything else as messages, which can name media to fetch."""
    entries = value if isinstance(value, list) else [value]
    texts = all(isinstance(entry, str) for entry in entries)
    many = isinstance(value, list) and (_are_tokens(value) or all(_are_tokens(entry) for entry in value))
    if not texts and not many:
        raise _invalid(where, "must be text, a list of texts, a list of tokens or a list of such lists.")


def _are_tokens(value: JsonValue) -> bool:
    return isinstance(value, list) and all(type(entry) is int for entry in value)


def _check_response_format(value: JsonValue) -> None:
    if value is None:
        return
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in _RESPONSE_FORMATS:
        raise _invalid("response_format", f"must have a type of {', '.join(sorted(_RESPONSE_FORMATS))}.")
