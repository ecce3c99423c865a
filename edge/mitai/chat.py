"""What a chat is made of."""

from __future__ import annotations

from typing import TypedDict


class ChatMessage(TypedDict):
    """One message of a chat, in the shape of the OpenAI API."""

    role: str
    content: str
