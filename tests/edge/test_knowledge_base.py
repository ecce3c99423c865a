from __future__ import annotations

import functools
import logging
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mitai.disclosure import Disclosure
from mitai.embed import default_embedder
from mitai.errors import (
    DocumentNotFound,
    KnowledgeBaseBusy,
    KnowledgeBaseDamaged,
    KnowledgeBaseError,
    KnowledgeBaseExists,
    KnowledgeBaseNotFound,
    KnowledgeBaseTooNew,
    ModelMismatch,
    NoKeychain,
    PassphraseRefused,
    WrongPassphrase,
)
from mitai.keyslots import keychain
from mitai.keyslots.passphrase import derive_key
from mitai.knowledge_base import KnowledgeBase
from mitai.storage.texts import Text
from support import canary
from support.embedder import HashingEmbedder
from support.knowledge_bases import CHEAP, PASSPHRASE, outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mitai.ingestion import Progress

DERIVED = functools.cache(derive_key)
PLANTED = ["Quillfeather", "zanzibarite", "翡翠鲸鱼", "龍鬚檔案"]


def create(path: Path, **options: object) -> KnowledgeBase:
    settings: dict[str, object] = {"passphrase": PASSPHRASE, "embedder": HashingEmbedder(), "argon2": CHEAP}
    return KnowledgeBase.create(path, **(settings | options))  # type: ignore[arg-type] # one table of options


def reopen(path: Path, **options: object) -> KnowledgeBase:
    settings: dict[str, object] = {"passphrase": PASSPHRASE, "embedder": HashingEmbedder()}
    return KnowledgeBase.open(path, **(settings | options))  # type: ignore[arg-type] # one table of options


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents" / "zanzibarite"
    folder.mkdir(parents=True)
    (folder / "Quillfeather.md").write_text(
        "# Quillfeather\n\nThe zanzibarite contract ends on 30 June.\n\n" + "Filler text. " * 2000
    )
    (folder / "龍鬚檔案.txt").write_text("龍鬚檔案：合約於六月三十日終止。\n\n翡翠鲸鱼计划的预算为五万元。\n" * 50)
    return folder


@pytest.fixture(autouse=True)
def _derive_each_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mitai.keyslots.keys.derive_key", DERIVED)  # the real derivation; opening again costs nothing


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "kb"
    KnowledgeBase.create(path, passphrase=PASSPHRASE, argon2=CHEAP).close()
    return path


@pytest.fixture
def kb(tmp_path: Path, template: Path) -> Iterator[KnowledgeBase]:
    shutil.copytree(template, tmp_path / "kbs" / "Contracts 合同")
    with reopen(tmp_path / "kbs" / "Contracts 合同") as opened:
        yield opened


def test_create_ingest_search_close_open_search(kb: KnowledgeBase, documents: Path) -> None:
    assert kb.ingest([documents]).added == 2
    first = kb.search("合约什么时候终止", k=2)
    assert first[0].document.name == "龍鬚檔案.txt"
    kb.close()
    kb.close()
    with reopen(kb.path) as again:
        assert again.search("合约什么时候终止", k=2) == first
        assert again.ingest([documents]).unchanged == 2
        again.check()


def test_info_tells_what_it_is(kb: KnowledgeBase, documents: Path) -> None:
    assert (kb.info().documents, kb.info().passages, kb.info().model_id, kb.info().slots) == (
        0,
        0,
        None,
        ("passphrase",),
    )
    kb.ingest([documents])
    info = kb.info()
    assert (info.name, info.path, info.documents, info.model_id) == ("Contracts 合同", kb.path, 2, "hashing-64")
    assert info.size == sum(file.stat().st_size for file in kb.path.iterdir())
    assert len(info.kb_id) == 32
    assert [record.name for record in kb.documents()] == ["Quillfeather.md", "龍鬚檔案.txt"]


def test_nothing_is_found_where_nothing_is_asked_or_stored(kb: KnowledgeBase, documents: Path) -> None:
    assert kb.search("contract") == []
    kb.ingest([documents])
    assert kb.search(" \n") == []
    assert kb.search("contract", k=0) == []
    assert len(kb.search("contract \udcff", k=3)) == 3


@pytest.mark.parametrize("query", ['" OR NEAR(', "'; DROP TABLE passages; --", "terms:*", "\0", "翡翠鲸鱼" * 500])
def test_hostile_queries_are_harmless(kb: KnowledgeBase, documents: Path, query: str) -> None:
    kb.ingest([documents])
    assert len(kb.search(query, k=3)) == 3
    kb.check()


def test_either_script_finds_the_other(kb: KnowledgeBase, documents: Path) -> None:
    kb.ingest([documents])
    for query in ("龍鬚檔案", "龙须档案", "翡翠鯨魚計劃", "翡翠鲸鱼计划"):
        hit = kb.search(query, k=1)[0]
        assert (hit.document.name, hit.lexical_rank) == ("龍鬚檔案.txt", 1)


def test_removal_by_number_and_path(kb: KnowledgeBase, documents: Path) -> None:
    kb.ingest([documents])
    hit = kb.search("zanzibarite contract", k=1)[0]
    kb.ledger.begin_disclosure(Disclosure(outgoing(), (hit.passage_id,)))
    removal = kb.remove(documents / ".." / "zanzibarite" / "Quillfeather.md")
    assert removal.purged
    assert removal.sent_texts == 1
    assert kb.ledger.list_disclosures()[0].text is None
    assert all(hit.document.name != "Quillfeather.md" for hit in kb.search("zanzibarite contract", k=50))
    kb.remove(kb.documents()[0].document_id)
    assert kb.search("contract") == []
    for gone in (1, documents / "Quillfeather.md"):
        with pytest.raises(DocumentNotFound):
            kb.remove(gone)
    kb.check()


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_wrong_passphrase_opens_nothing(kb: KnowledgeBase) -> None:
    for wrong in ("wrong", PASSPHRASE.upper(), PASSPHRASE[:-1]):
        with pytest.raises(WrongPassphrase):
            reopen(kb.path, passphrase=wrong)
    with pytest.raises(PassphraseRefused):
        reopen(kb.path, passphrase=None)
    with pytest.raises(PassphraseRefused):
        reopen(kb.path, passphrase="")


def test_the_keychain_opens_beside_the_passphrase(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], bytes] = {}
    monkeypatch.setattr(keychain, "store_key", lambda service, account, key: kept.update({(service, account): key}))
    monkeypatch.setattr(keychain, "load_key", lambda service, account: kept[service, account])
    monkeypatch.setattr(keychain, "delete_key", lambda service, account: kept.pop((service, account)))
    create(tmp_path / "kb", keychain=True).close()
    with reopen(tmp_path / "kb", passphrase=None, keychain=True) as opened:
        assert opened.info().slots == ("passphrase", "keychain")
    reopen(tmp_path / "kb").close()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        create(tmp_path / "file" / "kb", keychain=True)
    assert len(kept) == 1  # no key is left behind for what was not made


def test_without_a_keychain_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keyring
    from keyring.backends import fail

    monkeypatch.setattr(keyring, "get_keyring", fail.Keyring)
    with pytest.raises(NoKeychain):
        create(tmp_path / "kb", keychain=True)
    assert not list(tmp_path.iterdir())


def test_two_knowledge_bases_do_not_open_each_other(tmp_path: Path) -> None:
    create(tmp_path / "one").close()
    create(tmp_path / "two").close()
    shutil.copy(tmp_path / "one" / "kb.db", tmp_path / "two" / "kb.db")
    with pytest.raises(KnowledgeBaseDamaged):
        reopen(tmp_path / "two")


# -- places --------------------------------------------------------------------------------------------------------


def test_threat_32_folder_and_files_are_for_their_owner_only(tmp_path: Path, documents: Path) -> None:
    before = os.umask(0)
    try:
        with create(tmp_path / "kb") as made:
            made.ingest([documents])
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in made.path.iterdir()}
            folder = stat.S_IMODE(made.path.stat().st_mode)
    finally:
        os.umask(before)
    assert folder == 0o700
    assert modes == dict.fromkeys(("keyslots.json", "kb.db", "kb.db-wal", "kb.db-shm"), 0o600)


def test_creating_takes_an_empty_folder_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    create(tmp_path / "empty").close()
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("empty", "full", "file"):
        with pytest.raises(KnowledgeBaseExists):
            create(tmp_path / name)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"empty", "full", "file", "link"}


def test_a_failed_creation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mitai.keyslots.keys.save_keyslots", fail)
    with pytest.raises(OSError, match="No space"):
        create(tmp_path / "kb")
    assert not list(tmp_path.iterdir())


def test_knowledge_bases_are_listed_and_deleted_without_a_key(kb: KnowledgeBase) -> None:
    folder = kb.path.parent
    kb.close()
    create(folder / "Another").close()
    (folder / "not one").mkdir()
    (folder / ".Half.new-123456").mkdir()
    (folder / ".Half.new-123456" / "keyslots.json").touch()
    assert [path.name for path in KnowledgeBase.all_in(folder)] == ["Another", "Contracts 合同"]
    assert KnowledgeBase.all_in(folder / "missing") == []
    KnowledgeBase.require(folder / "Another")
    KnowledgeBase.delete(folder / "Another")
    assert not (folder / "Another").exists()
    for call in (KnowledgeBase.require, KnowledgeBase.delete):
        with pytest.raises(KnowledgeBaseNotFound):
            call(folder / "Another")
    (kb.path / "note of mine.txt").touch()
    KnowledgeBase.delete(kb.path)
    assert [file.name for file in kb.path.iterdir()] == ["note of mine.txt"]


@pytest.mark.parametrize("path", ["missing", "file", "folder"])
def test_what_is_no_knowledge_base_is_not_found(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(KnowledgeBaseNotFound) as caught:
        reopen(tmp_path / path)
    assert "mitai kb" in caught.value.hint


# -- bad input -----------------------------------------------------------------------------------------------------


def test_damage_newer_versions_and_other_models_are_told_apart(
    kb: KnowledgeBase, documents: Path, tmp_path: Path
) -> None:
    kb.ingest([documents])
    with pytest.raises(ModelMismatch):
        reopen(kb.path, embedder=HashingEmbedder("other")).search("contract")
    kb._store.database.rows("UPDATE meta SET value = '99' WHERE key = 'schema'")
    kb.close()
    with pytest.raises(KnowledgeBaseTooNew):
        reopen(kb.path)
    data = bytearray((kb.path / "kb.db").read_bytes())
    data[len(data) // 2] ^= 1
    (kb.path / "kb.db").write_bytes(data)
    with pytest.raises(KnowledgeBaseDamaged):
        reopen(kb.path)
    (kb.path / "kb.db").unlink()
    with pytest.raises(KnowledgeBaseNotFound):
        reopen(kb.path)


def test_a_damaged_log_loses_its_last_changes_only(kb: KnowledgeBase, documents: Path, tmp_path: Path) -> None:
    kb.ingest([documents / "Quillfeather.md"])
    kb._store.database.checkpoint()
    kb.ingest([documents / "龍鬚檔案.txt"])
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("keyslots.json", "kb.db", "kb.db-wal"):
        shutil.copy(kb.path / name, copy / name)
    log = bytearray((copy / "kb.db-wal").read_bytes())
    log[100] ^= 1
    (copy / "kb.db-wal").write_bytes(log)
    with reopen(copy) as opened:
        assert [record.name for record in opened.documents()] == ["Quillfeather.md"]
        opened.check()


HOLDER = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from mitai.knowledge_base import KnowledgeBase
from mitai.keyslots.passphrase import derive_key
kb = KnowledgeBase.open(pathlib.Path(sys.argv[2]), passphrase=sys.stdin.readline().rstrip("\\n"))
with kb._store.database.write():
    print("writing", flush=True)
    sys.stdin.readline()
kb.close()
"""


def test_while_another_process_writes_it_is_busy_and_readable(kb: KnowledgeBase, documents: Path) -> None:
    kb.ingest([documents / "龍鬚檔案.txt"])
    with (
        reopen(kb.path, busy_timeout=0.2) as mine,
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(Path(__file__).parents[1]), str(kb.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder,
    ):
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(PASSPHRASE + "\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "writing\n"
        with pytest.raises(KnowledgeBaseBusy):
            mine.ingest([documents])
        assert mine.search("龙须档案", k=1)[0].document.name == "龍鬚檔案.txt"
        holder.stdin.write("done\n")
        holder.stdin.flush()
        assert holder.wait(30) == 0
        assert mine.ingest([documents]).added == 1
        mine.check()


# -- at rest -------------------------------------------------------------------------------------------------------


def _on_disk(folder: Path) -> list[str]:
    found = []
    for file in folder.iterdir():
        found += [f"{file.name}: {trace}" for trace in canary.find(PLANTED, file.name.encode() + file.read_bytes())]
    return found


def test_threat_36_no_planted_word_or_vector_is_in_any_byte_on_disk(tmp_path: Path, documents: Path) -> None:
    sources = b"".join(file.name.encode() + file.read_bytes() for file in documents.iterdir())
    assert {trace.split("'")[1] for trace in canary.find(PLANTED, sources)} == set(PLANTED)
    made = create(tmp_path / "kb")
    seen_log = False

    def on_progress(_: Progress) -> None:
        nonlocal seen_log
        seen_log |= (made.path / "kb.db-wal").stat().st_size > 0
        assert _on_disk(made.path) == []

    made.ingest([documents], on_progress=on_progress)
    assert seen_log
    hits = made.search("翡翠鲸鱼 zanzibarite", k=50)
    made.ledger.begin_disclosure(Disclosure(outgoing(text=" ".join(PLANTED)), tuple(hit.passage_id for hit in hits)))
    assert _on_disk(made.path) == []
    vectors = made._store.vectors(made._store.vector_ids())
    made.remove(1)
    assert _on_disk(made.path) == []
    made.close()
    assert _on_disk(made.path) == []
    data = b"".join(file.read_bytes() for file in made.path.iterdir())
    assert not any(np.asarray(vector).tobytes()[:16] in data for vector in vectors)
    assert sorted(file.name for file in made.path.iterdir()) == ["kb.db", "keyslots.json"]


def test_threat_16_nothing_is_logged_or_printed(
    tmp_path: Path, documents: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), create(tmp_path / "kb") as made:
        made.ingest([documents])
        made.search("翡翠鲸鱼 zanzibarite")
        made.remove(1)
        shown = repr(made) + repr(made.info()) + repr(made.documents())
    captured = capfd.readouterr()
    assert canary.find([*PLANTED, "Contracts"], (caplog.text + captured.out + captured.err).encode()) == []
    assert canary.find(PLANTED, shown.encode()) == []


def test_no_secret_is_in_the_repr_of_an_error(kb: KnowledgeBase) -> None:
    with pytest.raises(KnowledgeBaseError) as caught:
        reopen(kb.path, passphrase="my secret passphrase")
    assert "secret" not in repr(caught.value) + caught.value.hint


@pytest.mark.models
def test_the_pinned_model_finds_across_languages(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "handbook.md").write_text(
        "# Handbook\n\n## Holidays\n\nStaff get twenty-five days of paid holiday a year.\n\n"
        "## IT\n\nLaptops are replaced every four years.\n"
    )
    (folder / "采购制度.txt").write_text("采购金额超过五万元，须经两名经理书面批准。\n\n供应商每年评审一次。\n")
    (folder / "請假辦法.txt").write_text("員工病假須於當日上午九點前通知主管。\n")
    with create(tmp_path / "kb", embedder=default_embedder()) as made:
        made.ingest([folder])
        for query, name in (
            ("How many days of paid holiday do I get?", "handbook.md"),
            ("采购要几名经理批准？", "采购制度.txt"),
            ("生病了什么时候要通知主管", "請假辦法.txt"),
            ("Who must approve a purchase above 50,000?", "采购制度.txt"),  # across languages
        ):
            assert made.search(query, k=3)[0].document.name == name
        assert "handbook.md" in [hit.document.name for hit in made.search("员工每年有多少天带薪年假？", k=4)]


def test_texts_of_a_program_are_searched_kept_and_removed_like_documents(tmp_path: Path) -> None:
    texts = [
        Text("lease/7", "The office lease ends on 30 June.", {"year": 2026}),
        Text("报销", "差旅报销须在返回后十个工作日内提交。"),
        Text("保固", "本產品的保固期限為三十個月。"),
    ]
    with create(tmp_path / "kb") as kb:
        kb.put_texts(texts)
        kb.put_texts([])
    with reopen(tmp_path / "kb") as kb:
        assert kb.texts(["保固", "nothing", "lease/7"]) == [texts[2], texts[0]]
        for text in texts:
            (hit,) = kb.search(text.text, k=1)
            assert (hit.text, kb.texts_of([hit])[hit.document.document_id].key) == (text.text, text.key)
            assert kb.nearest(text.text, k=1)[0].score == pytest.approx(1.0, abs=1e-5)
            assert kb.passages_within(f"Answer from this:\n{text.text}\n") == (hit.passage_id,)
        assert kb.remove_texts(["报销", "nothing"]).passages == 1
        assert kb.texts(["报销"]) == []
        assert kb.info().documents == 2
        kb.check()
    with reopen(tmp_path / "kb", embedder=HashingEmbedder("another")) as kb:
        for change in (lambda: kb.put_texts(texts), lambda: kb.nearest("x")):
            with pytest.raises(ModelMismatch):
                change()
