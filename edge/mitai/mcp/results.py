"""What is a client given, and what is it not? (`docs/spec/mcp.md` §3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_types import CallToolResult, TextContent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitai.answering.answer import Answer
    from mitai.answering.cite import Citation
    from mitai.errors import MitaiError
    from mitai.retrieve import Hit

Json = dict[str, object]
_SIMULATED = "[SIMULATED: no TEE hardware; this protects nothing from who runs that machine]"


def answer_as_json(answer: Answer, *, with_quotes: bool) -> Json:
    """Return an answer with where it stands; a quote is a passage, so it needs the permission."""
    return {
        "answer": answer.text,
        "grounding": answer.grounding.value,
        "note": answer.note,
        "finish": answer.finish,
        "simulated": answer.simulated,
        "measurement": answer.measurement or None,
        "ledger": answer.disclosure_id,
        "citations": [_citation(citation, with_quote=with_quotes) for citation in answer.citations],
        "unsupported": [sentence.text for sentence in answer.unsupported],
    }


def hits_as_json(hits: Sequence[Hit]) -> Json:
    """Return passages word for word, with where they stand."""
    return {
        "hits": [
            {
                "file": hit.document.name,
                "page": hit.page,
                "headings": list(hit.heading_path),
                "score": round(hit.score, 6),
                "text": hit.text,
            }
            for hit in hits
        ]
    }


def answer_result(told: Json, answer: Answer) -> CallToolResult:
    """Return what `ask` gives: text to read, and the same as JSON."""
    lines = [_SIMULATED] if answer.simulated else []
    lines.append(answer.text)
    for number, citation in enumerate(answer.citations, 1):
        place = " › ".join((citation.file, *citation.heading_path))
        lines.append(f"[{number}] {place}" + (f", p. {citation.page}" if citation.page else ""))
    if answer.note:
        lines.append(answer.note)
    return _result("\n".join(lines), told)


def search_result(told: Json, hits: Sequence[Hit]) -> CallToolResult:
    """Return what `search` gives: passages to read, and the same as JSON."""
    lines = [f"[{number}] {hit.document.name}\n{hit.text}" for number, hit in enumerate(hits, 1)]
    return _result("\n\n".join(lines) or "Nothing was found.", told)


def failure(error: MitaiError) -> CallToolResult:
    """Return an error with the way on; errors hold no text of a document."""
    told = f"{type(error).__name__}: {error}" + (f"\n→ {error.hint}" if error.hint else "")
    return CallToolResult(content=[TextContent(text=told)], is_error=True)


def unexpected(error: Exception) -> CallToolResult:
    """Return that something failed; its words stay here, since nobody knows what is in them."""
    told = f"Mitai failed ({type(error).__name__}). Nothing was handed over."
    return CallToolResult(content=[TextContent(text=told)], is_error=True)


def _result(text: str, told: Json) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], structured_content=told)


def _citation(citation: Citation, *, with_quote: bool) -> Json:
    place: Json = {"file": citation.file, "page": citation.page, "headings": list(citation.heading_path)}
    return place | {"quote": citation.quote} if with_quote else place
