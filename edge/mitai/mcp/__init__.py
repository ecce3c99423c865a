"""Mitai for MCP clients: ask private documents from a desktop assistant or an editor (`docs/spec/mcp.md`).

Needs the extra `mcp`; without it the import fails with `mitai.errors.ExtraMissing`.
"""

from __future__ import annotations

from mitai.errors import ExtraMissing

try:
    import mcp as _mcp
except ModuleNotFoundError as error:
    if error.name != "mcp":
        raise
    raise ExtraMissing("mcp") from None

from mitai.mcp.server import serve

__all__ = ["serve"]

del _mcp
