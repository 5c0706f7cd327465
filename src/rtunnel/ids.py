"""IDs as they are shown.

A tunnel's ID is a secret: it is enough to join the tunnel and to visit it. So the log, errors, metrics, the status and the access
log show its first characters only.
"""

from __future__ import annotations

import re
from uuid import UUID

__all__ = ["SHOWN", "hide_ids", "is_id", "mask_ids", "short_id"]

SHOWN = 8
"""Characters of an ID that are shown: enough to tell tunnels apart and to search the log."""

# also what is almost an ID: errors repeat what was mistyped
_WITH_HYPHENS = re.compile(r"(?<![0-9a-z])([0-9a-f]{8})[0-9a-f]*(?:-[0-9a-f]+){2,}", re.ASCII | re.IGNORECASE)
_BARE = re.compile(r"(?<![0-9a-z])([0-9a-f]{8})[0-9a-f]{20,28}(?![0-9a-z])", re.ASCII | re.IGNORECASE)


_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def is_id(text: str) -> bool:
    """Whether a text is an ID in the one form that is accepted."""
    return _ID.fullmatch(text) is not None


def short_id(whole: UUID) -> str:
    """Return the first :data:`SHOWN` characters of an ID."""
    return str(whole)[:SHOWN]


def hide_ids(text: str) -> str:
    """Return a line of the log with every ID in it cut to its first characters; request IDs, which have no hyphens, stay."""
    return _WITH_HYPHENS.sub(r"\1", text)


def mask_ids(text: str) -> str:
    """Return what a user typed with every ID in it, mistyped ones included, cut to its first characters and an ellipsis."""
    return _BARE.sub(r"\1...", _WITH_HYPHENS.sub(r"\1...", text))
