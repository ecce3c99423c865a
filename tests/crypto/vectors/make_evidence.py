"""Write tests/crypto/vectors/evidence: `PYTHONPATH=tests python tests/crypto/vectors/make_evidence.py`."""

from __future__ import annotations

from pathlib import Path

from support.evidence_cases import all_cases

FOLDER = Path(__file__).with_name("evidence")

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, case in all_cases().items():
        (FOLDER / f"{name}.json").write_text(case.encode(), encoding="utf-8")
