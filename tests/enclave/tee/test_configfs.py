"""Against the folder layout that Linux shows under /sys/kernel/config/tsm/report, recorded attribute by attribute."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from mitai_crypto.errors import TeeUnavailable
from mitai_crypto.evidence import TeeKind
from mitai_enclave.tee.configfs import ConfigfsAttester, find_hardware

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TDX = {"provider": b"tdx_guest\n", "generation": b"1\n", "outblob": b"tdx quote", "inblob": b""}
SNP = {"provider": b"sev_guest\n", "generation": b"1\n", "outblob": b"snp report", "auxblob": b"certs", "inblob": b""}


def kernel(attributes: dict[str, bytes], seen: list[bytes] | None = None) -> dict[str, Callable[[Path], None]]:
    """What the kernel does: a new folder has attributes, and removing it takes them along."""

    def make(entry: Path) -> None:
        entry.mkdir()
        for name, value in attributes.items():
            (entry / name).write_bytes(value)

    def remove(entry: Path) -> None:
        if seen is not None:
            seen.append((entry / "inblob").read_bytes())
        shutil.rmtree(entry)

    return {"make": make, "remove": remove}


@pytest.mark.parametrize(
    ("kind", "attributes", "collateral"), [(TeeKind.TDX, TDX, b""), (TeeKind.SEV_SNP, SNP, b"certs")]
)
def test_a_quote_over_these_64_bytes(
    tmp_path: Path, kind: TeeKind, attributes: dict[str, bytes], collateral: bytes
) -> None:
    seen: list[bytes] = []
    attester = ConfigfsAttester(kind, reports=tmp_path, **kernel(attributes, seen))
    quote = attester.quote(bytes(range(64)))
    assert quote.evidence == attributes["outblob"]
    assert quote.collateral == collateral
    assert seen == [bytes(range(64))]
    assert list(tmp_path.iterdir()) == []
    assert attester.kind is attester.provider() is kind


@pytest.mark.parametrize(
    "attributes",
    [
        {**TDX, "generation": b"2\n"},
        {**TDX, "provider": b"sev_guest\n"},
        {**TDX, "provider": b"arm_cca_guest\n"},
        {name: value for name, value in TDX.items() if name != "outblob"},
        {},
    ],
    ids=["interfered", "other kind", "unknown kind", "no quote", "no attributes"],
)
def test_anything_else_is_unavailable_and_leaves_no_report(tmp_path: Path, attributes: dict[str, bytes]) -> None:
    attester = ConfigfsAttester(TeeKind.TDX, reports=tmp_path, **kernel(attributes))
    with pytest.raises(TeeUnavailable):
        attester.quote(bytes(64))
    assert list(tmp_path.iterdir()) == []


def test_report_data_has_64_bytes(tmp_path: Path) -> None:
    with pytest.raises(TeeUnavailable, match="64"):
        ConfigfsAttester(TeeKind.TDX, reports=tmp_path).quote(b"short")


def test_without_the_kernel_interface_there_is_no_hardware(tmp_path: Path) -> None:
    with pytest.raises(TeeUnavailable, match="no TEE hardware"):
        find_hardware(reports=tmp_path / "none")
