"""Shape an answer of a knowledge base like OpenAI's chat completions, with citations beside the text.

Spec: `docs/spec/serve.md` §5.5–5.7.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from mitai.answering.answer import Answer
    from mitai.answering.cite import CheckedSentence, Citation

Document = dict[str, object]
ID_BYTES: Final = 12


class Completion:
    """The documents of one answer: whole, or chunk by chunk.

    Args:
        name: The knowledge base's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._id = f"chatcmpl-{secrets.token_hex(ID_BYTES)}"
        self._created = int(time.time())

    def whole(self, answer: Answer) -> Document:
        """Return a `chat.completion`."""
        message: Document = {"role": "assistant", "content": answer.text, "refusal": None, **self._sources(answer)}
        choice: Document = {"index": 0, "message": message, "finish_reason": _finish(answer), "logprobs": None}
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage(answer), "mitai": proof(answer)}

    def first(self) -> Document:
        """Return the chunk that names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, piece: str) -> Document:
        """Return a chunk with a piece of text."""
        return self._chunk({"content": piece})

    def last(self, answer: Answer) -> Document:
        """Return the chunk with the finish reason, the citations and the proof."""
        return {**self._chunk(self._sources(answer), _finish(answer)), "mitai": proof(answer)}

    def usage(self, answer: Answer) -> Document:
        """Return the chunk with the token counts."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage(answer)}

    def _head(self, kind: str) -> Document:
        return {"id": self._id, "object": kind, "created": self._created, "model": f"kb:{self._name}"}

    def _chunk(self, delta: Document, finish: str | None = None) -> Document:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _sources(self, answer: Answer) -> Document:
        cited = [(sentence, sentence.citation) for sentence in answer.sentences if sentence.citation is not None]
        return {
            "citations": [_citation(sentence, citation) for sentence, citation in cited],
            "annotations": [_annotation(self._name, sentence, citation) for sentence, citation in cited],
        }


def usage(answer: Answer) -> Document:
    """Return the token counts of the receipt; zeros where nothing was sent."""
    counted = answer.receipt.usage if answer.receipt is not None else None
    sent, came = (counted.prompt_tokens, counted.completion_tokens) if counted else (0, 0)
    return {"prompt_tokens": sent, "completion_tokens": came, "total_tokens": sent + came}


def proof(answer: Answer) -> Document:
    """Return what is known about an answer besides its text."""
    receipt = answer.receipt
    return {
        "tee": None if receipt is None else receipt.tee.value,
        "simulated": answer.simulated,
        "measurement": answer.measurement or None,
        "receipt": None if receipt is None else hashlib.sha256(receipt.encode()).hexdigest(),
        "ledger": answer.disclosure_id,
        "grounding": answer.grounding.value,
        "note": answer.note,
        "unsupported": [_span(sentence) for sentence in answer.unsupported],
        "passages": len(answer.context),
    }


def _finish(answer: Answer) -> str:
    return answer.finish or "stop"


def _citation(sentence: CheckedSentence, citation: Citation) -> Document:
    return {
        "file": citation.file,
        "page": citation.page,
        "headings": list(citation.heading_path),
        "quote": citation.quote,
        "start": citation.start,
        "end": citation.end,
        "sentence": _span(sentence),
        "score": round(citation.score, 4),
        "passage": citation.passage_id,
    }


def _annotation(name: str, sentence: CheckedSentence, citation: Citation) -> Document:
    page = f"#page={citation.page}" if citation.page else ""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": sentence.start,
            "end_index": sentence.end,
            "title": citation.file,
            "url": f"mitai:{quote(name, safe='')}/{quote(citation.file, safe='')}{page}",
        },
    }


def _span(sentence: CheckedSentence) -> dict[str, int]:
    return {"start": sentence.start, "end": sentence.end}
