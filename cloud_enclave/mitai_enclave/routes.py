"""Which inner routes exist, and which body fields may reach the engine? (`docs/spec/http.md` §4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from mitai_enclave.errors import RequestRefused

_SAMPLING: Final = frozenset(
    {
        "frequency_penalty",
        "ignore_eos",
        "include_stop_str_in_output",
        "logit_bias",
        "logprobs",
        "max_tokens",
        "min_p",
        "min_tokens",
        "model",
        "n",
        "presence_penalty",
        "repetition_penalty",
        "seed",
        "stop",
        "stop_token_ids",
        "stream",
        "stream_options",
        "temperature",
        "top_k",
        "top_p",
        "user",
    }
)


class RouteClass(StrEnum):
    """What a request is for, as metrics count it."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    ATTESTATION = "attestation"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Route:
    """One inner route.

    Attributes:
        kind: Its class in metrics.
        method: The only method.
        path: The exact path.
        fields: Names that its body may have; empty where there is no body.
    """

    kind: RouteClass
    method: bytes
    path: bytes
    fields: frozenset[str]

    @property
    def has_body(self) -> bool:
        """Whether the request carries a JSON body."""
        return bool(self.fields)


_ROUTES: Final = {
    route.path: route
    for route in (
        Route(
            RouteClass.CHAT,
            b"POST",
            b"/v1/chat/completions",
            _SAMPLING
            | {
                "max_completion_tokens",
                "messages",
                "parallel_tool_calls",
                "reasoning_effort",
                "response_format",
                "tool_choice",
                "tools",
                "top_logprobs",
            },
        ),
        Route(
            RouteClass.COMPLETIONS,
            b"POST",
            b"/v1/completions",
            _SAMPLING | {"echo", "prompt", "suffix"},
        ),
        Route(
            RouteClass.EMBEDDINGS,
            b"POST",
            b"/v1/embeddings",
            frozenset({"dimensions", "encoding_format", "input", "model", "user"}),
        ),
        Route(RouteClass.MODELS, b"GET", b"/v1/models", frozenset()),
    )
}


def find_route(method: bytes, path: bytes) -> Route:
    """Return the route for an inner method and path.

    Raises:
        RequestRefused: 404, no such path; 405, another method.
    """
    route = _ROUTES.get(path)
    if route is None:
        raise RequestRefused(404, "unknown_url", "This path is not served here.")
    if method != route.method:
        raise RequestRefused(405, "method_not_allowed", f"This path takes {route.method.decode()} only.")
    return route
