from __future__ import annotations

import pytest

from mitai_crypto.errors import TeeUnavailable
from mitai_crypto.evidence import TeeKind
from mitai_enclave.tee import configfs, select
from mitai_enclave.tee.select import TeeChoice, select_attester


def test_threat_26_auto_never_means_simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("MITAI_TEE_SOCKET", "/run/launcher.sock")
    for choice in (TeeChoice.AUTO, TeeChoice.TDX, TeeChoice.SEV_SNP):
        if configfs.REPORTS.is_dir():
            assert select_attester(choice).kind is not TeeKind.SIMULATED
        else:
            with pytest.raises(TeeUnavailable) as caught:
                select_attester(choice)
            assert "mitai-sim" in caught.value.hint
    assert select_attester(TeeChoice.SIMULATED).kind is TeeKind.SIMULATED


def test_a_named_kind_is_that_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    found = configfs.ConfigfsAttester(TeeKind.TDX)
    monkeypatch.setattr(select, "find_hardware", lambda: found)
    assert select_attester(TeeChoice.AUTO) is found
    assert select_attester(TeeChoice.SEV_SNP).kind is TeeKind.SEV_SNP
