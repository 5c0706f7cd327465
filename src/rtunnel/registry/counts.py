"""What has happened in a registry so far, for the metrics."""

from __future__ import annotations

import attrs

__all__ = ["CLAIMS", "RegistryCounts"]

CLAIMS = ("agreed", "refused", "unavailable")
"""The outcomes of agreements."""


@attrs.define
class RegistryCounts:
    """Counters that only grow.

    :ivar messages: that were received.
    :ivar malformed: messages and records that could not be read.
    :ivar written: changes that were written.
    :ivar rewritten: how often all was written anew.
    :ivar read: records that were read because something was missing.
    :ivar claims: agreements by their outcome.
    :ivar outages: how often the registry was not available any more.
    """

    messages: int = 0
    malformed: int = 0
    written: int = 0
    rewritten: int = 0
    read: int = 0
    claims: dict[str, int] = attrs.field(factory=lambda: dict.fromkeys(CLAIMS, 0))
    outages: int = 0
