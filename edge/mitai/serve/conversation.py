"""Read a chat request that a knowledge base is to answer: what is asked, searched for, and allowed.

Spec: `docs/spec/serve.md` §5.1–5.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from mitai.answering.answer import DEFAULT_ANSWER_TOKENS
from mitai.serve.problems import bad_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_EARLIER_CHARACTERS: Final = 2000
MAX_TEMPERATURE: Final = 2.0
_UNSENT_ROLES: Final = frozenset({"system", "developer"})
_ROLES: Final = frozenset({"user", "assistant", *_UNSENT_ROLES})
_HONOURED: Final = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "stream", "stream_options"}
)
_IGNORED: Final = frozenset({"user", "metadata", "store"})
_NEUTRAL: Final[Mapping[str, object]] = {
    "n": 1,
    "top_p": 1,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logprobs": False,
    "tool_choice": "none",
    "response_format": {"type": "text"},
}


@dataclass(frozen=True)
class Turn:
    """One message with text."""

    role: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Question:
    """What a chat request asks of a knowledge base.

    Attributes:
        text: The question for the prompt, earlier turns before it.
        query: What to search for.
        stream: Whether the answer is to stream.
        include_usage: Whether a stream ends with token counts.
        max_tokens: The longest answer.
        temperature: 0 for the likeliest answer.
    """

    text: str = field(repr=False)
    query: str = field(repr=False)
    stream: bool
    include_usage: bool
    max_tokens: int
    temperature: float


def parse_question(body: Mapping[str, object]) -> Question:
    """Read the body of a chat request.

    Raises:
        Problem: Something in it is malformed, or cannot be honoured by a knowledge base.
    """
    _refuse_what_cannot_be_honoured(body)
    turns = _turns(body.get("messages"))
    *earlier, last = [turn for turn in turns if turn.role not in _UNSENT_ROLES] or [Turn("", "")]
    if last.role != "user" or not last.text.strip():
        raise bad_value("The last message must be a user message with text: it is the question.", "messages")
    asked_before = [turn.text for turn in earlier if turn.role == "user"]
    stream, options = body.get("stream") or False, body.get("stream_options") or {}
    if not isinstance(stream, bool):
        raise bad_value("stream must be a boolean.", "stream")
    if not isinstance(options, dict) or not isinstance(usage := options.get("include_usage") or False, bool):
        raise bad_value("stream_options may hold include_usage, a boolean.", "stream_options")
    return Question(
        text=_with_earlier(last.text, earlier),
        query="\n".join([*asked_before[-1:], last.text]),
        stream=stream,
        include_usage=usage,
        max_tokens=_max_tokens(body),
        temperature=_temperature(body.get("temperature")),
    )


def _refuse_what_cannot_be_honoured(body: Mapping[str, object]) -> None:
    for name, value in body.items():
        if name in _HONOURED or name in _IGNORED or value is None or value in ([], {}) or value == _NEUTRAL.get(name):
            continue
        raise bad_value(
            f"A knowledge base cannot honour {name if name.isidentifier() else 'a member of the body'}.",
            name,
            code="unsupported_parameter",
        )


def _turns(messages: object) -> list[Turn]:
    if not isinstance(messages, list) or not messages:
        raise bad_value("messages must be a list that is not empty.", "messages")
    return [_turn(message) for message in messages]


def _turn(message: object) -> Turn:
    if not isinstance(message, dict) or message.get("role") not in _ROLES:
        raise bad_value("A message must have the role system, developer, user or assistant.", "messages")
    content = message.get("content")
    if isinstance(content, str):
        return Turn(message["role"], content)
    parts = content if isinstance(content, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    known = [text for text in texts if isinstance(text, str)]
    if len(known) != len(texts):
        raise bad_value("The content of a message must be text.", "messages")
    return Turn(message["role"], "".join(known))


def _with_earlier(question: str, earlier: Sequence[Turn]) -> str:
    """Return the question with what was said before it, as quoted lines; the newest turns that fit are kept."""
    room, kept = MAX_EARLIER_CHARACTERS, list[str]()
    for turn in reversed(earlier):
        line = f"{turn.role}: {' '.join(turn.text.split())}"
        if len(line) > room:
            break
        room -= len(line)
        kept.append(line)
    if not kept:
        return question
    return "\n".join(["(Said earlier in this conversation:", *reversed(kept), ")", question])


def _max_tokens(body: Mapping[str, object]) -> int:
    given = next((body[name] for name in ("max_completion_tokens", "max_tokens") if body.get(name) is not None), None)
    if given is None:
        return DEFAULT_ANSWER_TOKENS
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise bad_value("max_tokens must be a positive integer.", "max_tokens")
    return given


def _temperature(given: object) -> float:
    if given is None:
        return 0.0
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= MAX_TEMPERATURE:
        raise bad_value("temperature must be a number between 0 and 2.", "temperature")
    return float(given) if math.isfinite(given) else 0.0
