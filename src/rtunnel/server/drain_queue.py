"""Draining: removed parts get no new requests, and are closed when their last request ends or their timeout expires."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from rtunnel.outcomes import LinkEnd
from rtunnel.server.upstream import UpstreamPool

__all__ = ["DrainQueue", "Drainable", "DrainingConnector"]


class Drainable(Protocol):
    """Something that can be drained."""

    @property
    def busy(self) -> bool:
        """Whether a request is in progress."""

    def cut(self) -> None:
        """Close it now."""


class DrainingConnector:
    """A connector that gets no new requests.

    :param end: why its link is closed.
    :param detail: the reason in more detail, for the log.
    """

    def __init__(self, pool: UpstreamPool, end: LinkEnd, detail: str) -> None:
        self._pool = pool
        self._end = end
        self._detail = detail

    @property
    def busy(self) -> bool:
        """Whether a stream of it is in use, or last bytes wait for a target that has no room yet."""
        return self._pool.busy or self._pool.link.session.buffered > 0

    def cut(self) -> None:
        """Close the link cleanly."""
        self._pool.link.close(self._end, self._detail)


@attrs.frozen(eq=False)
class _Entry:
    drainable: Drainable
    until: float


class DrainQueue:
    """Everything that is draining; owned by the service, whose sweep closes what is no longer busy.

    :param seconds: the clock.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._parts: list[_Entry] = []

    def add(self, drainable: Drainable, timeout: float) -> None:
        """Drain something, and close it after a timeout in seconds."""
        self._parts.append(_Entry(drainable, self._seconds() + timeout))

    @property
    def busy(self) -> bool:
        """Whether any part is busy."""
        return any(part.drainable.busy for part in self._parts)

    def sweep(self, now: float) -> None:
        """Close the parts that are no longer busy and those whose timeout has expired."""
        for part in list(self._parts):
            if not part.drainable.busy or now >= part.until:
                self._parts.remove(part)
                part.drainable.cut()

    def cut(self) -> None:
        """Close all of them now."""
        parts, self._parts = self._parts, []
        for part in parts:
            part.drainable.cut()
