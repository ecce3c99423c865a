"""Quotes of TDX and SEV-SNP guests through Linux's configfs-tsm (`Documentation/ABI/testing/configfs-tsm`).

A report is a folder under `/sys/kernel/config/tsm/report`: made, given `inblob`, read at `outblob`, removed.
The attribute `generation` counts writes, and tells whether somebody else wrote between ours and the reading.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mitai_crypto.errors import TeeUnavailable
from mitai_crypto.evidence import TeeKind
from mitai_crypto.labels import REPORT_DATA_BYTES
from mitai_enclave.tee.quote import Quote

if TYPE_CHECKING:
    from collections.abc import Callable

REPORTS: Final = Path("/sys/kernel/config/tsm/report")
_PROVIDERS: Final = {"tdx_guest": TeeKind.TDX, "sev_guest": TeeKind.SEV_SNP}
_ONE_WRITE: Final = 1


class ConfigfsAttester:
    """Gets quotes from the kernel.

    Args:
        kind: The kind that the kernel's provider must have.
        reports: The folder in which reports are made.
        make: Makes a report's folder; the kernel fills it.
        remove: Removes it.
    """

    def __init__(
        self,
        kind: TeeKind,
        *,
        reports: Path = REPORTS,
        make: Callable[[Path], None] = os.mkdir,
        remove: Callable[[Path], None] = os.rmdir,
    ) -> None:
        self._kind = kind
        self._reports = reports
        self._make = make
        self._remove = remove

    @property
    def kind(self) -> TeeKind:
        """The kind of evidence that it gives."""
        return self._kind

    def quote(self, report_data: bytes) -> Quote:
        """Return a fresh quote, with the certificates that the host handed to the guest as collateral.

        Raises:
            TeeUnavailable: The kernel gives none, gives one of another kind, or somebody interfered.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise TeeUnavailable(f"Report data has {REPORT_DATA_BYTES} bytes.")
        entry = self._reports / f"mitai-{secrets.token_hex(8)}"
        try:
            self._make(entry)
            try:
                return self._read(entry, report_data)
            finally:
                self._remove(entry)
        except OSError as error:
            raise TeeUnavailable(f"The kernel gives no quote: {error.strerror}.") from error

    def provider(self) -> TeeKind:
        """Return the kind that the kernel's provider has.

        Raises:
            TeeUnavailable: There is no provider, or one that is not known here.
        """
        entry = self._reports / f"mitai-{secrets.token_hex(8)}"
        try:
            self._make(entry)
            try:
                return _provider(entry)
            finally:
                self._remove(entry)
        except OSError as error:
            raise TeeUnavailable(f"The kernel gives no quote: {error.strerror}.") from error

    def _read(self, entry: Path, report_data: bytes) -> Quote:
        if _provider(entry) is not self._kind:
            raise TeeUnavailable(f"This machine's TEE is not {self._kind.value}.")
        (entry / "inblob").write_bytes(report_data)
        evidence = (entry / "outblob").read_bytes()
        collateral = _optional(entry / "auxblob")
        if int((entry / "generation").read_text()) != _ONE_WRITE:
            raise TeeUnavailable("Somebody else wrote into the report while it was read.")
        return Quote(evidence, collateral)


def find_hardware(*, reports: Path = REPORTS) -> ConfigfsAttester:
    """Return the attester of this machine's TEE hardware.

    Raises:
        TeeUnavailable: It has none. A simulated TEE is never chosen here.
    """
    if not reports.is_dir():
        raise TeeUnavailable("This machine has no TEE hardware that Linux shows (no configfs-tsm).")
    return ConfigfsAttester(ConfigfsAttester(TeeKind.TDX, reports=reports).provider(), reports=reports)


def _provider(entry: Path) -> TeeKind:
    name = (entry / "provider").read_text().strip()
    if name not in _PROVIDERS:
        raise TeeUnavailable("The kernel's TEE provider is not known here.")
    return _PROVIDERS[name]


def _optional(path: Path) -> bytes:
    # TDX has no such attribute; for SEV-SNP it is the certificate table of the host.
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
