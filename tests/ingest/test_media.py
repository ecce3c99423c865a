from __future__ import annotations

import pytest

from mitai_ingest import media
from mitai_ingest.errors import UnsupportedFormat


def test_every_suffix_is_lower_case_and_has_a_media_type() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in media.SUFFIXES)
    assert len(media.MEDIA_TYPES) == 5


@pytest.mark.parametrize("suffix", ["", *media.SUFFIXES])
def test_known_suffixes_and_none_are_welcome(suffix: str) -> None:
    media.check_suffix(suffix)


@pytest.mark.parametrize("suffix", [".png", ".doc", ".PDF", "."])
def test_others_are_refused(suffix: str) -> None:
    with pytest.raises(UnsupportedFormat, match="no loader reads"):
        media.check_suffix(suffix)
