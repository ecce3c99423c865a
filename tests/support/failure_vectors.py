"""The text of every failure vector under `tests/crypto/vectors/failures`, derived from fixed bytes."""

from __future__ import annotations

import json

from support import bhttp_failures, ohttp_failures, ohttp_plain_failures


def build() -> dict[str, str]:
    """Return the text of each file by its path under `tests/crypto/vectors`."""
    groups = {
        "request": ohttp_failures.request_failures(),
        "response": ohttp_failures.response_failures(),
        "plain_request": ohttp_plain_failures.request_failures(),
        "plain_response": ohttp_plain_failures.response_failures(),
        "bhttp_request": bhttp_failures.request_failures(),
        "bhttp_response": bhttp_failures.response_failures(),
        "key_config": bhttp_failures.key_config_failures(),
    }
    return {
        f"failures/{group}/{name}.json": json.dumps(vector, indent=2, ensure_ascii=False) + "\n"
        for group, vectors in groups.items()
        for name, vector in vectors.items()
    }
