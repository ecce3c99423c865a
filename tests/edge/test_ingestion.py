from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mitai.errors import ModelMismatch
from mitai.ingestion import Ingestion, IngestSummary, Progress
from mitai.storage.store import Store
from support.embedder import HashingEmbedder
from support.knowledge_bases import document, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitai.ingestion import Cancel
    from mitai.keyslots.keys import RootKey

TESTS = Path(__file__).parents[1]
FILES = 20


def ingest(
    store: Store,
    paths: list[Path],
    embedder: HashingEmbedder | None = None,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    cancel: Cancel | None = None,
) -> IngestSummary:
    return Ingestion(store, embedder or HashingEmbedder(), on_progress=on_progress, cancel=cancel).run(paths)


def counts(summary: IngestSummary) -> tuple[int, int, int, int]:
    return summary.added, summary.replaced, summary.unchanged, len(summary.failed)


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "lease.md").write_text("# Lease\n\nThe lease ends on 30 June.\n\n## Rent\n\nRent is due monthly.\n")
    (folder / "租約.txt").write_text("租約於六月三十日終止。\n\n每月支付租金。\n")
    (folder / "采购.txt").write_text("采购金额超过五万元，需要两名经理批准。\n")
    return folder


def test_folders_become_documents(store: Store, documents: Path) -> None:
    summary = ingest(store, [documents])
    assert counts(summary) == (3, 0, 0, 0)
    assert summary.passages == store.count()[1] > 2
    assert sorted(record.name for record in store.documents()) == sorted(["lease.md", "租約.txt", "采购.txt"])
    passages = store.passages_of(store.vector_ids().tolist())
    assert {passage.heading_path for passage in passages.values()} >= {("Lease", "Rent")}
    store.verify()


def test_headings_and_title_are_indexed_with_each_passage(store: Store, tmp_path: Path) -> None:
    (tmp_path / "glacier.txt").write_text("Nothing in the text says so.")
    ingest(store, [tmp_path / "glacier.txt"])
    assert store.lexical.search("glacier", 5) == [(1, pytest.approx(store.lexical.search("glacier", 5)[0][1]))]


def test_only_what_changed_is_read_again(store: Store, documents: Path) -> None:
    ingest(store, [documents])
    embedder = HashingEmbedder()
    assert counts(ingest(store, [documents], embedder)) == (0, 0, 3, 0)
    assert embedder.embedded == 0
    os.utime(documents / "lease.md")
    (documents / "采购.txt").write_text("采购金额超过六万元，需要三名经理批准。\n")
    (documents / "new.txt").write_text("A new one.\n")
    assert counts(ingest(store, [documents], embedder)) == (1, 1, 2, 0)
    texts = {passage.text for passage in store.passages_of(store.vector_ids().tolist()).values()}
    assert any("六万" in text for text in texts)
    assert not any("五万" in text for text in texts)
    store.verify()


def test_a_change_that_keeps_size_and_time_is_seen(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old words")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    ingest(store, [file])
    file.write_text("new words")
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert counts(ingest(store, [file])) == (0, 1, 0, 0)


def test_files_that_fail_are_reported_and_stop_nothing(store: Store, documents: Path, tmp_path: Path) -> None:
    (documents / "empty.txt").touch()
    (documents / "binary.txt").write_bytes(bytes(range(256)) * 20)
    (documents / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    summary = ingest(store, [documents, tmp_path / "missing"])
    assert counts(summary) == (3, 0, 0, 4)
    failed = {failure.path.name: failure.error for failure in summary.failed}
    assert set(failed) == {"empty.txt", "binary.txt", "image.png", "missing"}
    assert all(str(error) for error in failed.values())
    store.verify()


def test_files_that_vanished_stay(store: Store, documents: Path) -> None:
    ingest(store, [documents])
    (documents / "lease.md").unlink()
    ingest(store, [documents])
    assert store.count()[0] == 3


def test_progress_counts_up_to_the_total(store: Store, documents: Path) -> None:
    (documents / "empty.txt").touch()
    seen: list[Progress] = []
    ingest(store, [documents], on_progress=seen.append)
    files = [progress.files for progress in seen]
    assert files == sorted(files)
    assert (seen[-1].files, seen[-1].total, seen[-1].passages) == (4, 4, store.count()[1])
    assert "lease" not in repr(seen)


def test_an_error_in_the_callback_ends_the_run_and_nothing_is_half_stored(store: Store, documents: Path) -> None:
    def fail(_: Progress) -> None:
        raise RuntimeError("the window was closed")

    with pytest.raises(RuntimeError, match="closed"):
        ingest(store, [documents], on_progress=fail)
    store.verify()
    assert counts(ingest(store, [documents]))[3] == 0
    assert store.count()[0] == 3


@pytest.mark.parametrize("after", [0, 1, 2, 5, 9])
def test_a_cancelled_run_keeps_whole_documents_and_the_next_goes_on(
    store: Store, tmp_path: Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mitai.ingestion.WINDOW_PASSAGES", 4)
    for number in range(12):
        (tmp_path / f"{number:02}.txt").write_text(
            "\n\n".join(f"paragraph {part} of {number} " * 30 for part in range(3))
        )
    cancel, seen = threading.Event(), 0

    def on_progress(_: Progress) -> None:
        nonlocal seen
        seen += 1
        if seen > after:
            cancel.set()

    if after == 0:
        cancel.set()
    first = ingest(store, [tmp_path], on_progress=on_progress, cancel=cancel)
    assert first.cancelled
    assert first.added == store.count()[0] < 12
    store.verify()
    second = ingest(store, [tmp_path])
    assert not second.cancelled
    assert (second.added, second.unchanged, store.count()[0]) == (12 - first.added, first.added, 12)


def test_windows_embed_small_files_together(store: Store, tmp_path: Path) -> None:
    class Counting(HashingEmbedder):
        calls = 0

        def embed_passages(self, texts: object) -> object:  # type: ignore[override] # counts and passes on
            self.calls += 1
            return super().embed_passages(texts)  # type: ignore[arg-type] # the same object

    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_text(f"file {number}")
    embedder = Counting()
    ingest(store, [tmp_path], embedder)
    assert (embedder.calls, store.count()) == (1, (40, 40))


def test_another_model_is_refused_before_a_file_is_read(store: Store, documents: Path) -> None:
    put(store, document("/a.txt", "words"))
    with pytest.raises(ModelMismatch):
        ingest(store, [documents], HashingEmbedder("another"))
    assert store.count()[0] == 1


# -- killed and competing processes ----------------------------------------------------------------------------

WORKER = """
import os, pathlib, signal, sys
sys.path.insert(0, sys.argv[1])
import mitai.ingestion
from mitai.keyslots.keys import RootKey
from mitai.storage.store import Store
from support.embedder import HashingEmbedder
mitai.ingestion.WINDOW_PASSAGES = 4
store = Store.open(pathlib.Path(sys.argv[2]), RootKey("0123456789abcdef0123456789abcdef", bytes(range(32))))
kill_at = int(sys.argv[4])
change, changes = Store._next_generation, 0
def counted(self):
    global changes
    changes += 1
    change(self)
    if changes == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)  # everything is written, nothing is committed
Store._next_generation = counted
print("ready", flush=True)
ingestion = mitai.ingestion.Ingestion(store, HashingEmbedder(), on_progress=None, cancel=None)
summary = ingestion.run([pathlib.Path(sys.argv[3])])
store.close()
print(summary.added, summary.unchanged, flush=True)
"""


def _start(store_path: Path, folder: Path, kill_at: int = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKER, str(TESTS), str(store_path), str(folder), str(kill_at)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout is not None
    output = process.stdout.read()  # not communicate(): it would miss what readline has buffered
    process.stdout.close()
    return process.wait(120), output


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    generator = random.Random(3)
    words = ["lease", "rent", "notice", "租约", "租金", "通知", "deposit", "押金", "tenant", "租客"]
    for number in range(FILES):
        paragraphs = (" ".join(generator.choices(words, k=120)) for _ in range(3))
        (folder / f"{number:02}.txt").write_text("\n\n".join(paragraphs))
    return folder


@pytest.fixture
def store_path(tmp_path: Path, store: Store) -> Path:
    return tmp_path / "kb" / "kb.db"


def _check_whole(path: Path, root: RootKey) -> int:
    opened = Store.open(path, root)
    opened.verify()
    documents = opened.count()[0]
    opened.close()
    return documents


@pytest.mark.parametrize("kill_at", [1, 2, 17])
def test_a_kill_inside_a_transaction_leaves_no_trace_of_it(
    store_path: Path, many: Path, root: RootKey, kill_at: int
) -> None:
    assert _finish(_start(store_path, many, kill_at))[0] == -signal.SIGKILL
    stored = _check_whole(store_path, root)
    assert stored == kill_at - 1
    assert _finish(_start(store_path, many)) == (0, f"{FILES - stored} {stored}\n")
    assert _check_whole(store_path, root) == FILES


def test_kills_at_random_moments_lose_nothing_that_was_stored(store_path: Path, many: Path, root: RootKey) -> None:
    start = time.monotonic()
    reference = store_path.parent / "reference.db"
    reference.touch()
    Store.create(reference, root).close()
    assert _finish(_start(reference, many))[0] == 0
    whole = time.monotonic() - start
    before = 0
    for share in sorted(random.Random(int(start)).uniform(0.05, 0.9) for _ in range(5)):
        process = _start(store_path, many)
        time.sleep(share * whole / 2)
        process.kill()
        assert _finish(process)[0] in {0, -signal.SIGKILL}
        stored = _check_whole(store_path, root)
        assert stored >= before
        before = stored
    assert _finish(_start(store_path, many)) == (0, f"{FILES - before} {before}\n")
    assert _check_whole(store_path, root) == FILES


def test_two_processes_that_ingest_at_once_store_each_file_once(store_path: Path, many: Path, root: RootKey) -> None:
    outcomes = [_finish(process) for process in [_start(store_path, many), _start(store_path, many)]]
    assert [code for code, _ in outcomes] == [0, 0]
    added = [int(output.split()[0]) for _, output in outcomes]
    assert sum(added) == FILES
    assert _check_whole(store_path, root) == FILES
