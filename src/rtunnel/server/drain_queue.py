"""What has no more part in new requests: it ends with the last one under way, or when its time is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from rtunnel.outcomes import LinkEnd
from rtunnel.server.upstream import UpstreamPool

__all__ = ["DrainQueue", "Drainable", "DrainingConnector"]


class Drainable(Protocol):
    """Something that is about to end."""

    @property
    def busy(self) -> bool:
        """Whether a request is under way."""

    def cut(self) -> None:
        """End it now."""


class DrainingConnector:
    """A connector that is chosen for no more requests.

    :param end: why its link is closed.
    :param detail: more about it, for the log.
    """

    def __init__(self, pool: UpstreamPool, end: LinkEnd, detail: str) -> None:
        self._pool = pool
        self._end = end
        self._detail = detail

    @property
    def busy(self) -> bool:
        """Whether a stream of it is in use."""
        return self._pool.busy

    def cut(self) -> None:
        """Close the link cleanly."""
        self._pool.link.close(self._end, self._detail)


@attrs.frozen(eq=False)
class _Entry:
    drainable: Drainable
    until: float


class DrainQueue:
    """All that is leaving; owned by the service, whose sweep asks each whether it has ended.

    :param seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._parts: list[_Entry] = []

    def add(self, drainable: Drainable, patience: float) -> None:
        """Let something leave, within a time in seconds."""
        self._parts.append(_Entry(drainable, self._seconds() + patience))

    @property
    def busy(self) -> bool:
        """Whether any of them is."""
        return any(part.drainable.busy for part in self._parts)

    def sweep(self, now: float) -> None:
        """End those that are done and those whose time is over."""
        for part in list(self._parts):
            if not part.drainable.busy or now >= part.until:
                self._parts.remove(part)
                part.drainable.cut()

    def cut(self) -> None:
        """End all of them now."""
        parts, self._parts = self._parts, []
        for part in parts:
            part.drainable.cut()
