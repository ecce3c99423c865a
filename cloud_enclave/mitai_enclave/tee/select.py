"""Which source of quotes does `--tee` mean on this machine?"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from mitai_crypto.evidence import TeeKind
from mitai_enclave.tee.configfs import ConfigfsAttester, find_hardware
from mitai_enclave.tee.simulated import find_launcher

if TYPE_CHECKING:
    from mitai_enclave.tee.quote import Attester


class TeeChoice(StrEnum):
    """The values of `--tee`."""

    AUTO = "auto"
    TDX = "tdx"
    SEV_SNP = "sev-snp"
    SIMULATED = "simulated"


def select_attester(choice: TeeChoice) -> Attester:
    """Return the attester for `choice`. `auto` means hardware and nothing else.

    Raises:
        TeeUnavailable: This machine or this process does not have it.
    """
    if choice is TeeChoice.SIMULATED:
        return find_launcher()
    found = find_hardware()
    return found if choice is TeeChoice.AUTO else ConfigfsAttester(TeeKind(choice.value))
