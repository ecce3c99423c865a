"""Every number of `docs/spec/passages.md`, each beside its section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024

# -- §2, §3: reading and telling formats apart ---------------------------------------------------------------
MAX_FILE_BYTES: Final = 100 * MIB
SIGNATURE_BYTES: Final = 1024  # where `%PDF-` and a charset declaration may stand
MAX_CONTROL_SHARE: Final = 0.01
MAX_CHAOS: Final = 0.15
CHAOS_MARGIN: Final = 0.03
COHERENCE_MARGIN: Final = 0.02
MIN_DOUBLE_BYTES: Final = 16

# -- §4: formats ---------------------------------------------------------------------------------------------
MAX_ARCHIVE_ENTRIES: Final = 4096
MAX_ARCHIVE_BYTES: Final = 256 * MIB
MAX_ARCHIVE_RATIO: Final = 100
ARCHIVE_RATIO_FLOOR: Final = 8 * MIB  # below this no ratio does harm
MAX_TEXT_CHARS: Final = 16 * MIB

# -- §6, §7: documents and passages --------------------------------------------------------------------------
MAX_HEADING_CHARS: Final = 120
MAX_TITLE_CHARS: Final = 200
DEFAULT_MAX_TOKENS: Final = 200  # ADR 0033
MIN_MAX_TOKENS: Final = 16

# -- §8: the parser process ----------------------------------------------------------------------------------
MAX_MESSAGE_BYTES: Final = 128 * MIB
MAX_REQUEST_BYTES: Final = 4096
MAX_REASON_CHARS: Final = 300
MAX_FRAGMENTS: Final = 1_000_000
CHILD_CPU_SECONDS: Final = 3600  # a backstop for a child whose parent was killed
FILES_PER_CHILD: Final = 500
GRACE_SECONDS: Final = 1.0
START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Limits:
    """What one file may cost.

    Attributes:
        file_bytes: The largest file that is read.
        seconds: Wall time that parsing one file may take.
        memory_bytes: Address space of the parser process.
    """

    file_bytes: int = MAX_FILE_BYTES
    seconds: float = 60.0
    memory_bytes: int = 2048 * MIB
