"""`mitai ledger` as a shell sees it, over a knowledge base whose rows rest on real exchanges."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mitai.cli.exit_codes import ExitCode
from mitai.disclosure import Disclosure, DisclosureKind
from mitai.knowledge_base import KnowledgeBase
from support.asked import QUESTIONS, Asked, ask_questions
from support.embedder import HashingEmbedder
from support.evidence_builder import build_enclave
from support.knowledge_bases import PASSPHRASE, outgoing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def asked(home: Path) -> Asked:
    found = ask_questions(home)
    (home / "secret").write_text(PASSPHRASE, encoding="utf-8")
    (home / "secret").chmod(0o600)
    (home / "policy.toml").write_text(found.policy.encode(), encoding="utf-8")
    return found


def mitai(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mitai.cli", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def ledger(home: Path, asked: Asked, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return mitai("ledger", *arguments, "--kb", asked.path, "--passphrase-file", home / "secret")


def test_the_bare_command_still_lists(home: Path, asked: Asked) -> None:
    bare = mitai("ledger", "--kb", asked.path, "--passphrase-file", home / "secret", "--json")
    listed = ledger(home, asked, "list", "--json")
    assert bare.returncode == listed.returncode == 0, listed.stderr
    assert bare.stdout == listed.stdout
    rows = json.loads(listed.stdout)["disclosures"]
    assert [row["kind"] for row in rows] == ["sealed"] * 5
    assert [row["evidence"] for row in rows] == [row.evidence for row in asked.rows]
    assert "text" not in rows[0]
    nothing = mitai("ledger")
    assert nothing.returncode == ExitCode.USAGE


def test_threat_30_the_ledger_shows_each_change_of_keys(home: Path, asked: Asked) -> None:
    rows = json.loads(ledger(home, asked, "list", "--json").stdout)["disclosures"]
    assert [row["crypto_material_changed"] for row in rows] == [False, False, False, False, True]
    assert len({row["crypto_material"] for row in rows}) == 2
    told = ledger(home, asked, "list").stdout.splitlines()
    assert ["changed" in line for line in told] == [False, False, False, False, False, True]


def test_show_tells_one_row_with_its_text(home: Path, asked: Asked) -> None:
    number = asked.rows[2].disclosure_id
    told = json.loads(ledger(home, asked, "show", str(number), "--json").stdout)["disclosures"]
    assert [row["id"] for row in told] == [number]
    assert QUESTIONS[2] in told[0]["text"]
    assert QUESTIONS[2] in ledger(home, asked, "show", str(number)).stdout
    old = mitai("ledger", "--kb", asked.path, "--passphrase-file", home / "secret", "--show", str(number), "--json")
    assert json.loads(old.stdout)["disclosures"] == told
    assert ledger(home, asked, "show", "99").returncode == ExitCode.USAGE


def test_verify_checks_every_row_again(home: Path, asked: Asked) -> None:
    done = ledger(home, asked, "verify", "--policy", home / "policy.toml", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["ok"], told["simulated"]) == (True, True)
    assert [row["outcome"] for row in told["rows"]] == ["verified"] * 3 + ["no receipt", "verified"]
    assert told["policy"] == {
        "name": asked.policy.name,
        "digest": asked.policy.digest,
        "trust_on_first_use": False,
    }
    assert [len(shown["report"]["steps"]) for shown in told["evidence"]] == [13, 13]
    assert "chose the nonces" in told["notes"][0]
    shown = ledger(home, asked, "verify", "--policy", home / "policy.toml")
    assert shown.returncode == 0
    assert shown.stdout.count("verified") == 5
    assert "SIMULATED" in shown.stdout
    assert "SIMULATED" in shown.stderr


def test_verify_fails_under_a_policy_that_demands_something_else(home: Path, asked: Asked) -> None:
    (home / "other.toml").write_text(build_enclave("B").policy().encode(), encoding="utf-8")
    done = ledger(home, asked, "verify", "--policy", home / "other.toml", "--json")
    assert done.returncode == ExitCode.UNVERIFIED
    told = json.loads(done.stdout)
    assert not told["ok"]
    assert {row["outcome"] for row in told["rows"]} == {"failed"}
    assert all(row["reason"] for row in told["rows"])
    missing = ledger(home, asked, "verify")
    assert missing.returncode == ExitCode.USAGE


def test_an_export_is_private_and_verified_alone(home: Path, asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "帳本.jsonl"
    done = ledger(home, asked, "export", "--output", file)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text(encoding="utf-8") == ledger(home, asked, "export").stdout
    verified = mitai("ledger", "verify", "--file", file, "--policy", home / "policy.toml", "--json")
    assert verified.returncode == 0, verified.stderr
    in_place = ledger(home, asked, "verify", "--policy", home / "policy.toml", "--json")
    assert json.loads(verified.stdout) == json.loads(in_place.stdout)
    again = ledger(home, asked, "export", "--output", file)
    assert again.returncode == ExitCode.FAILED
    assert "does not exist yet" in again.stderr


def test_a_forged_export_ends_with_7_and_a_broken_one_with_1(home: Path, asked: Asked, tmp_path: Path) -> None:
    text = ledger(home, asked, "export", "--with-text").stdout
    assert QUESTIONS[1] in text
    forged, cut = tmp_path / "forged.jsonl", tmp_path / "cut.jsonl"
    forged.write_text(text.replace(asked.rows[1].request_digest, "00" * 32, 1), encoding="utf-8")
    done = mitai("ledger", "verify", "--file", forged, "--policy", home / "policy.toml", "--json")
    assert done.returncode == ExitCode.UNVERIFIED
    assert [row["outcome"] for row in json.loads(done.stdout)["rows"]].count("failed") == 1
    cut.write_text(text[: len(text) // 2], encoding="utf-8")
    broken = mitai("ledger", "verify", "--file", cut, "--policy", home / "policy.toml", "--json")
    assert broken.returncode == ExitCode.FAILED
    assert json.loads(broken.stdout)["error"]["type"] == "LedgerFileError"


def test_what_was_revealed_is_told_apart(home: Path, tmp_path: Path) -> None:
    base = tmp_path / "revealed"
    found = tmp_path / "secret"
    found.write_text(PASSPHRASE, encoding="utf-8")
    found.chmod(0o600)
    with KnowledgeBase.create(base, passphrase=PASSPHRASE, embedder=HashingEmbedder()) as kb:
        shown = outgoing(url="mcp", measurement="", tee="", simulated=False, crypto_material=None, evidence=None)
        kb.ledger.begin_disclosure(Disclosure(shown, (), DisclosureKind.REVEALED))
    options = ("--kb", base, "--passphrase-file", found)
    assert "revealed" in mitai("ledger", "list", *options).stdout
    (tmp_path / "policy.toml").write_text(build_enclave().policy().encode(), encoding="utf-8")
    done = mitai("ledger", "verify", "--policy", tmp_path / "policy.toml", *options, "--json")
    assert done.returncode == 0, done.stderr
    assert [row["outcome"] for row in json.loads(done.stdout)["rows"]] == ["not sealed"]
