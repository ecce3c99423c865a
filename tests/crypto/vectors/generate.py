"""Write the failure vectors beside this file again: python tests/crypto/vectors/generate.py.

Everything is derived from fixed bytes, so a second run changes nothing; `test_vectors.py` checks that.
The vectors under `published/` are copied data and are not written here.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from support.failure_vectors import build  # noqa: E402 - the line above makes the import possible


def main() -> None:
    """Replace the vectors on disk."""
    built = build()
    for path in HERE.glob("failures/*/*.json"):
        if path.relative_to(HERE).as_posix() not in built:
            path.unlink()
    for name, text in built.items():
        path = HERE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
