from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

import mitai
from support.embedder import HashingEmbedder
from support.enclave_simulator import EnclaveSimulator, models, streamed

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = [
    "Answer",
    "AnswerStream",
    "AsyncHttpxSealedTransport",
    "AsyncSealedTransport",
    "AttestationResult",
    "ChatStream",
    "CheckedSentence",
    "Citation",
    "Disclosure",
    "DisclosureOutcome",
    "DisclosureRecord",
    "DocumentRecord",
    "Embedder",
    "EnclaveClient",
    "Grounding",
    "Hit",
    "HttpxSealedTransport",
    "IngestSummary",
    "KnowledgeBase",
    "KnowledgeBaseInfo",
    "MitaiError",
    "ModelInfo",
    "Outgoing",
    "Padding",
    "Progress",
    "Receipt",
    "Removal",
    "RevelationRecord",
    "SealedTransport",
    "Support",
    "Text",
    "TrustPolicy",
    "VerificationReport",
    "__version__",
    "ask",
    "async_sealed_client",
    "errors",
    "load_policy",
    "parse_policy",
    "sealed_client",
]
HEAVY = ("torch", "faiss", "httpx", "httpx2", "numpy", "sqlcipher3", "cryptography", "opencc", "rapidfuzz")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_public_names_are_pinned_and_sorted() -> None:
    assert mitai.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    value = getattr(mitai, name)
    assert name in dir(mitai)
    if name != "__version__":
        assert inspect.getdoc(value)


def test_nothing_else_can_be_asked_for() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Anything'"):
        _ = mitai.Anything


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, mitai; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert run(code) == "[]"


def test_importing_is_quick() -> None:
    """Under 200 ms beyond the interpreter's own start; the quickest of three, for a machine may be busy."""
    code = "import time; start = time.perf_counter(); import mitai; print(time.perf_counter() - start)"
    assert min(float(run(code)) for _ in range(3)) < 0.2


def test_asking_for_an_error_does_not_load_an_http_library() -> None:
    code = "import sys, mitai; mitai.errors.MitaiError; print('httpx2' in sys.modules or 'numpy' in sys.modules)"
    assert run(code) == "False"


def test_one_library_does_not_load_the_other() -> None:
    code = "import sys, mitai; mitai.SealedTransport; print('httpx2' in sys.modules, 'httpx' in sys.modules)"
    assert run(code) == "True False"


def test_the_example_in_the_docstring_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = inspect.getdoc(mitai).split("\n\n", 1)[1].split("\nNothing is sent")[0]
    example = textwrap.dedent(lines)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mitai.knowledge_base.default_embedder", HashingEmbedder)
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "handbook.md").write_text("Everybody has 25 days of annual leave.\n", encoding="utf-8")
    with EnclaveSimulator() as simulator:
        said = streamed("Everybody has 25 days", " of annual leave.")
        simulator.answer = lambda request: models() if request.path == b"/v1/models" else said
        (tmp_path / "policy.toml").write_text(simulator.policy().encode(), encoding="utf-8")
        assert example.count("https://enclave.example") == 1
        exec(example.replace("https://enclave.example", simulator.url), {"__name__": "example"})  # noqa: S102 - our own docstring
        assert len(simulator.executed) == 2
    shown = capsys.readouterr().out
    assert "Everybody has 25 days of annual leave." in shown
    assert "handbook.md None Everybody has 25 days of annual leave." in shown
