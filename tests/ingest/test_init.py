from __future__ import annotations

import mitai_ingest


def test_the_public_names_are_pinned_and_there() -> None:
    assert sorted(mitai_ingest.__all__) == [
        "Block",
        "BlockKind",
        "Candidate",
        "DEFAULT_MAX_TOKENS",
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
    assert all(hasattr(mitai_ingest, name) for name in mitai_ingest.__all__)
