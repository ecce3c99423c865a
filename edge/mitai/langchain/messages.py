"""What are LangChain's messages on the wire of the OpenAI API, and back? (`docs/spec/langchain.md` §2)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.output_parsers.openai_tools import make_invalid_tool_call, parse_tool_call

from mitai.errors import ContentRefused, IncompleteAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk

Json = dict[str, object]

_ROLES: tuple[tuple[type[BaseMessage], str], ...] = (
    (SystemMessage, "system"),
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (ToolMessage, "tool"),
)


def to_wire(messages: Sequence[BaseMessage]) -> list[Json]:
    """Return messages in the shape of the OpenAI API; text only.

    Raises:
        ContentRefused: A message holds something else than text, or is of no role of a chat.
    """
    return [_to_wire(message) for message in messages]


def from_wire(body: Mapping[str, object]) -> AIMessage:
    """Return the message of a whole answer.

    Raises:
        IncompleteAnswer: The body is not that of a chat completion.
    """
    choice = _first(body)
    told = choice.get("message")
    if not isinstance(told, dict):
        raise IncompleteAnswer("The enclave sent an answer without a message.")
    calls, invalid = _tool_calls(told.get("tool_calls"))
    return AIMessage(
        content=_text(told.get("content")),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_of(body.get("usage")),
        response_metadata={"finish_reason": choice.get("finish_reason")},
    )


def chunk_from_wire(event: Mapping[str, object]) -> AIMessageChunk | None:
    """Return what an event of a stream adds to the first choice; None where that is nothing."""
    delta = _first(event).get("delta")
    if not isinstance(delta, dict):
        return None
    text, pieces = _text(delta.get("content")), _tool_call_chunks(delta.get("tool_calls"))
    return AIMessageChunk(content=text, tool_call_chunks=pieces) if text or pieces else None


def finish_of(event: Mapping[str, object]) -> str | None:
    """Return why the first choice of an event ended; None where it did not."""
    reason = _first(event).get("finish_reason")
    return reason if isinstance(reason, str) else None


def usage_of(usage: object) -> UsageMetadata | None:
    """Return token counts as LangChain has them; None where there are none."""
    if not isinstance(usage, dict):
        return None
    sent, made = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    return UsageMetadata(input_tokens=sent, output_tokens=made, total_tokens=sent + made)


def _to_wire(message: BaseMessage) -> Json:
    wire: Json = {"role": _role(message), "content": _only_text(message)}
    if message.name:
        wire["name"] = message.name
    if isinstance(message, AIMessage) and message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call["id"] or "",
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["args"], ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    if isinstance(message, ToolMessage):
        wire["tool_call_id"] = message.tool_call_id
    return wire


def _role(message: BaseMessage) -> str:
    if isinstance(message, ChatMessage):
        return message.role
    for kind, role in _ROLES:
        if isinstance(message, kind):
            return role
    raise ContentRefused(f"a message of type {message.type!r} has no place in a chat")


def _only_text(message: BaseMessage) -> str:
    """Return a message's text; what a model said beside it (reasoning, calls) has its own place or is left out."""
    if not isinstance(message, AIMessage) and not isinstance(message.content, str):
        for block in message.content:
            if not isinstance(block, str) and block.get("type") != "text":
                raise ContentRefused(f"a message holds {block.get('type')!r}; only text is sent")
    return str(message.text)


def _first(body: Mapping[str, object]) -> Json:
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) else {}


def _text(value: object) -> str:
    # A lone surrogate is no text and could not be shown or stored.
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else ""


def _tool_calls(told: object) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for raw in _calls(told):
        try:
            calls.append(cast("ToolCall", parse_tool_call(raw, return_id=True)))
        except OutputParserException as error:
            invalid.append(make_invalid_tool_call(raw, str(error)))
    return calls, invalid


def _calls(told: object) -> list[Json]:
    """Return those entries that have the shape of a call."""
    return [
        entry
        for entry in (told if isinstance(told, list) else [])
        if isinstance(entry, dict)
        and isinstance(function := entry.get("function"), dict)
        and isinstance(function.get("name"), str)
        and isinstance(function.get("arguments"), str)
    ]


def _tool_call_chunks(told: object) -> list[ToolCallChunk]:
    pieces = []
    for entry in told if isinstance(told, list) else []:
        function = entry.get("function") if isinstance(entry, dict) else None
        if isinstance(function, dict):
            name, arguments, number, index = (
                function.get("name"),
                function.get("arguments"),
                entry.get("id"),
                entry.get("index"),
            )
            pieces.append(
                tool_call_chunk(
                    name=name if isinstance(name, str) else None,
                    args=arguments if isinstance(arguments, str) else None,
                    id=number if isinstance(number, str) else None,
                    index=index if isinstance(index, int) else None,
                )
            )
    return pieces


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
