"""Hypothesis for this folder: no deadline, for a busy machine is no fault of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("mitai-crypto", deadline=None)
settings.load_profile("mitai-crypto")
