from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mitai_sim.errors import StateError
from mitai_sim.root import default_state_folder, load_machine, make_machine
from support.evidence_builder import NOW

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"root.cert.pem", "root.key.pem", "platform.cert.pem", "platform.key.pem", "sealing.secret"}


def test_a_root_is_made_once_and_then_loaded(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    first = load_machine(state, now=NOW)
    second = load_machine(state, now=NOW + 1)
    assert first.root.fingerprint == second.root.fingerprint
    assert first.sealing_secret == second.sealing_secret
    assert first.chip_id == second.chip_id
    assert len(bytes.fromhex(first.chip_id)) == 16
    assert list(state.parent.iterdir()) == [state]


def test_an_empty_folder_is_a_first_use(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir(0o700)
    assert load_machine(state, now=NOW).root.fingerprint == load_machine(state, now=NOW).root.fingerprint


def test_every_machine_has_a_root_of_its_own(tmp_path: Path) -> None:
    one, other = load_machine(tmp_path / "a", now=NOW), load_machine(tmp_path / "b", now=NOW)
    assert one.root.fingerprint != other.root.fingerprint
    assert one.chip_id != other.chip_id


def test_threat_32_root_files_are_private(tmp_path: Path) -> None:
    state = tmp_path / "state"
    before = os.umask(0)
    try:
        load_machine(state, now=NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {path.name for path in state.iterdir()} == FILES
    for path in state.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


@pytest.mark.parametrize("name", [".", *sorted(FILES)])
@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020, 0o001])
def test_threat_32_a_root_that_others_can_open_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    state = tmp_path / "state"
    load_machine(state, now=NOW)
    target = state / name
    target.chmod(stat.S_IMODE(target.stat().st_mode) | mode)
    with pytest.raises(StateError, match="open to nobody else") as caught:
        load_machine(state, now=NOW)
    assert "chmod" in caught.value.hint


def test_threat_32_a_link_is_no_private_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    load_machine(state, now=NOW)
    (state / "root.key.pem").rename(tmp_path / "moved")
    (state / "root.key.pem").symlink_to(tmp_path / "moved")
    with pytest.raises(StateError):
        load_machine(state, now=NOW)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("content", [None, b"", b"noise"])
def test_a_damaged_root_is_refused_and_not_replaced(tmp_path: Path, name: str, content: bytes | None) -> None:
    state = tmp_path / "state"
    load_machine(state, now=NOW)
    if content is None:
        (state / name).unlink()
    else:
        (state / name).write_bytes(content)
    left = {path: path.read_bytes() for path in state.iterdir()}
    with pytest.raises(StateError, match="damaged"):
        load_machine(state, now=NOW)
    assert {path: path.read_bytes() for path in state.iterdir()} == left


def test_keys_of_another_root_do_not_fit(tmp_path: Path) -> None:
    load_machine(tmp_path / "a", now=NOW)
    load_machine(tmp_path / "b", now=NOW)
    (tmp_path / "a" / "root.key.pem").write_bytes((tmp_path / "b" / "root.key.pem").read_bytes())
    with pytest.raises(StateError, match="damaged"):
        load_machine(tmp_path / "a", now=NOW)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(StateError):
        load_machine(tmp_path / "state", now=NOW)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError):
        load_machine(tmp_path / "file" / "state", now=NOW)


def test_secrets_stay_out_of_repr() -> None:
    machine = make_machine(now=NOW)
    assert machine.sealing_secret.hex() not in repr(machine)
    assert repr(machine.sealing_secret) not in repr(machine)
    assert "PrivateKey" not in repr(machine)


def test_the_default_place_is_the_users_own() -> None:
    assert default_state_folder().parts[-2:] == ("mitai", "simulated-tee")
