"""The `mitai` command as a shell sees it: output, exit codes, secrets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mitai.cli.exit_codes import ExitCode
from mitai.models import models_directory

PASSPHRASE = "一二三 correct horse"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(PASSPHRASE + "\n", encoding="utf-8")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path


def mitai(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {"MITAI_MODELS_DIR": str(models_directory()), **environment}
    return subprocess.run(
        [sys.executable, "-m", "mitai.cli", *arguments],
        env={**os.environ, "XDG_DATA_HOME": str(home / "data"), "COLUMNS": "200", "NO_COLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def created(home: Path, name: str = "手冊") -> str:
    done = mitai(home, "kb", "create", name, "--passphrase-file", str(home / "secret"))
    assert done.returncode == 0, done.stderr
    return name


def test_help_names_every_command_and_every_exit_code(home: Path) -> None:
    done = mitai(home, "--help")
    assert done.returncode == 0
    for word in ("kb", "ingest", "search", "ask", "verify", "ledger", "mcp", "serve", "demo"):
        assert word in done.stdout
    told = " ".join(done.stdout.split())
    assert all(f"{code.value} " in told for code in ExitCode)


@pytest.mark.parametrize("command", ["ingest", "search", "ask", "verify", "ledger", "mcp", "serve", "demo"])
def test_each_help_has_an_example(home: Path, command: str) -> None:
    done = mitai(home, command, "--help")
    assert done.returncode == 0
    assert f"mitai {command}" in done.stdout


def test_documented_exit_codes_are_the_real_ones() -> None:
    documented = Path("docs/cli.md").read_text(encoding="utf-8")
    rows = {int(code) for code in re.findall(r"^\| (\d+) \|", documented, flags=re.MULTILINE)}
    assert rows == {code.value for code in ExitCode}


def test_create_list_info_remove(home: Path) -> None:
    name = created(home)
    assert json.loads(mitai(home, "kb", "list", "--json").stdout)["knowledge_bases"] == [name]
    info = mitai(home, "kb", "info", name, "--passphrase-file", str(home / "secret"), "--json")
    assert json.loads(info.stdout) == {
        "name": name,
        "created": json.loads(info.stdout)["created"],
        "model": None,
        "reveal_passages": False,
        "documents": [],
    }
    removed = mitai(home, "kb", "remove", name, "--yes")
    assert removed.returncode == 0
    assert json.loads(mitai(home, "kb", "list", "--json").stdout)["knowledge_bases"] == []


def test_wrong_passphrase_is_exit_code_3_with_a_way_on(home: Path) -> None:
    name = created(home)
    wrong = home / "wrong"
    wrong.write_text("not it", encoding="utf-8")
    wrong.chmod(0o600)
    done = mitai(home, "kb", "info", name, "--passphrase-file", str(wrong), "--json")
    assert done.returncode == ExitCode.LOCKED
    assert json.loads(done.stdout)["error"]["type"] == "WrongPassphrase"
    assert "→" in done.stderr


def test_creating_twice_and_opening_nothing_are_exit_code_4(home: Path) -> None:
    name = created(home)
    again = mitai(home, "kb", "create", name, "--passphrase-file", str(home / "secret"))
    missing = mitai(home, "search", "--kb", "nowhere", "x", "--passphrase-file", str(home / "secret"))
    assert (again.returncode, missing.returncode) == (ExitCode.KNOWLEDGE_BASE, ExitCode.KNOWLEDGE_BASE)
    assert "kb create" in missing.stderr


def test_passphrase_by_descriptor(home: Path) -> None:
    name = created(home)
    with (home / "secret").open("rb") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "mitai.cli", "kb", "info", name, "--passphrase-fd", str(stream.fileno())],
            env={**os.environ, "XDG_DATA_HOME": str(home / "data")},
            pass_fds=(stream.fileno(),),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stderr


def test_threat_32_a_secret_file_that_others_can_read_is_refused(home: Path) -> None:
    (home / "secret").chmod(0o644)
    done = mitai(home, "kb", "create", "open", "--passphrase-file", str(home / "secret"))
    assert done.returncode == ExitCode.LOCKED
    assert "chmod 600" in done.stderr
    assert not (home / "data").exists() or not list((home / "data").rglob("kb.db"))


def test_no_option_takes_a_secret_itself(home: Path) -> None:
    for command in (["kb", "create"], ["search"], ["ask"], ["ledger"], ["mcp"], ["serve"]):
        text = mitai(home, *command, "--help").stdout
        assert not re.search(r"--(passphrase|token|password)\s", text)


def test_without_a_terminal_a_passphrase_is_not_waited_for(home: Path) -> None:
    done = mitai(home, "kb", "create", "x")
    assert done.returncode == ExitCode.LOCKED
    assert "--passphrase-fd" in done.stderr


@pytest.mark.parametrize("name", ["../up", "a/../../b"])
def test_a_path_is_taken_as_a_path_and_a_name_never_leaves_its_folder(home: Path, name: str) -> None:
    done = mitai(home, "kb", "info", name, "--passphrase-file", str(home / "secret"))
    assert done.returncode == ExitCode.KNOWLEDGE_BASE


def test_unreachable_enclave_is_exit_code_6_and_a_bad_policy_7(home: Path) -> None:
    policy = home / "policy.toml"
    policy.write_text("version = 1\nteh = []\n", encoding="utf-8")
    bad = mitai(home, "verify", "http://127.0.0.1:9", "--policy", str(policy))
    assert bad.returncode == ExitCode.UNVERIFIED
    from support.evidence_builder import build_enclave

    policy.write_text(build_enclave().policy().encode(), encoding="utf-8")
    done = mitai(home, "verify", "http://127.0.0.1:9", "--policy", str(policy))
    assert done.returncode == ExitCode.UNREACHABLE, done.stderr


@pytest.mark.models
def test_ingest_reports_each_failure_and_ends_with_exit_code_5(home: Path) -> None:
    name = created(home)
    folder = home / "docs"
    folder.mkdir()
    (folder / "good.md").write_text("# Leave\n\nThere are 27 days of leave.\n", encoding="utf-8")
    (folder / "繁體.txt").write_text("保固期限為三十個月。", encoding="utf-8")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\n%garbage")
    done = mitai(home, "ingest", "--kb", name, str(folder), "--passphrase-file", str(home / "secret"), "--json")
    assert done.returncode == ExitCode.PARTIAL, done.stderr
    told = json.loads(done.stdout)
    assert (told["added"], {Path(f["path"]).name for f in told["failed"]}) == (2, {"empty.txt", "broken.pdf"})
    assert all(f["reason"] for f in told["failed"])
    again = mitai(home, "ingest", "--kb", name, str(folder), "--passphrase-file", str(home / "secret"))
    assert "2 unchanged" in again.stderr
    found = mitai(home, "search", "--kb", name, "保固期限", "--passphrase-file", str(home / "secret"), "--json")
    assert json.loads(found.stdout)["hits"][0]["document"] == "繁體.txt"
