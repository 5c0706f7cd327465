"""IDs as they are shown.

A tunnel's ID is a secret: it is enough to join the tunnel and to visit it. So the log, errors, metrics, the status and the access
log show its first characters only.
"""

from __future__ import annotations

import re
from uuid import UUID

__all__ = ["SHOWN", "hide_ids", "short_id"]

SHOWN = 8
"""Characters of an ID that are shown: enough to tell tunnels apart and to search the log."""

_ID = re.compile(r"([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def short_id(whole: UUID) -> str:
    """Return the first :data:`SHOWN` characters of an ID."""
    return str(whole)[:SHOWN]


def hide_ids(text: str) -> str:
    """Return a text with every ID in it cut to its first characters."""
    return _ID.sub(r"\1", text)
