"""How much of an ID is shown where nobody is asked who he is.

Whoever knows the whole ID of a tunnel can join it, so metrics, status and access log show its beginning.
"""

from __future__ import annotations

import re
from uuid import UUID

__all__ = ["SHOWN", "hide_ids", "short_id"]

SHOWN = 8
"""Characters of an ID that are shown: enough to tell tunnels apart, and to find the lines of the log."""

_ID = re.compile(r"([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def short_id(whole: UUID) -> str:
    """The beginning of an ID."""
    return str(whole)[:SHOWN]


def hide_ids(text: str) -> str:
    """A text with each ID in it cut down to its beginning."""
    return _ID.sub(r"\1", text)
