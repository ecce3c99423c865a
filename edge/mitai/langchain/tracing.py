"""Would LangChain send what is asked to a tracer, outside the seal? (`docs/spec/langchain.md` §5)."""

from __future__ import annotations

from langchain_core.tracers.context import tracing_v2_callback_var
from langsmith.utils import tracing_is_enabled

from mitai.errors import TracingRefused


def refuse_tracing(*, allowed: bool) -> None:
    """Refuse to go on where LangSmith would be told everything in the clear.

    Args:
        allowed: The program has said that this is what it wants.

    Raises:
        TracingRefused: Tracing is on, by the environment or for this block.
    """
    if not allowed and (tracing_is_enabled() or tracing_v2_callback_var.get() is not None):
        raise TracingRefused("LangSmith tracing is on: it would send questions, passages and answers away unsealed")
