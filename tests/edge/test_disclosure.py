from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from mitai.disclosure import Disclosure, DisclosureOutcome
from support.knowledge_bases import outgoing


def test_repr_shows_no_text() -> None:
    shown = repr(Disclosure(outgoing(text="CANARY 密态"), (1, 2)))
    assert "CANARY" not in shown
    assert "密态" not in shown
    assert "passage_ids=(1, 2)" in shown


def test_a_disclosure_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        outgoing().attempt = 2  # type: ignore[misc] # that is the test


def test_outcomes_are_words_that_are_stored() -> None:
    assert [outcome.value for outcome in DisclosureOutcome] == [
        "unknown",
        "complete",
        "incomplete",
        "refused",
        "closed",
        "resent",
    ]
