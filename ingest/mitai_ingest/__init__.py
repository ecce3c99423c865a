"""Documents to passages: walk, load, normalise, split.

    from pathlib import Path

    from mitai_ingest import Loaded, read

    for outcome in read([Path("handbook")], count_tokens=lambda text: len(text.split())):
        if isinstance(outcome, Loaded):
            for passage in outcome.passages:
                store(passage.text, passage.heading_path, passage.page)
        else:
            report(outcome.path, outcome.error, outcome.error.hint)

Files are parsed in a confined child process; this package imports no document parser into yours.
"""

from __future__ import annotations

from mitai_ingest import errors
from mitai_ingest.document import Block, BlockKind, Document, Passage
from mitai_ingest.limits import DEFAULT_MAX_TOKENS, Limits
from mitai_ingest.load import Parser, load
from mitai_ingest.pipeline import Loaded, read
from mitai_ingest.split import split
from mitai_ingest.walk import Candidate, Failed, walk

__all__ = [
    "DEFAULT_MAX_TOKENS",
    "Block",
    "BlockKind",
    "Candidate",
    "Document",
    "Failed",
    "Limits",
    "Loaded",
    "Parser",
    "Passage",
    "errors",
    "load",
    "read",
    "split",
    "walk",
]
