"""Hosts of which a connector does not reach the target; what is known about them stands at the connector.

A client may serve several hosts, each with a target of its own, so one that is down says nothing of the others.
"""

from __future__ import annotations

import attrs

__all__ = ["MAX_FAILING", "FailingHost", "FailingHosts"]

MAX_FAILING = 64
"""Hosts that are remembered of a connector; the one that began to fail first makes room, and is tried again."""


@attrs.define
class FailingHost:
    """One of them.

    :ivar failures: how often in a row.
    :ivar avoided: whether the connector is avoided for it; if not, the next request finds out.
    :ivar on_trial: whether a request is finding out.
    :ivar wait: seconds until it may be tried again; below 0, since when it may.
    """

    failures: int = 0
    avoided: bool = False
    on_trial: bool = False
    wait: float = 0.0


class FailingHosts(dict[str, FailingHost]):
    """Those of one connector, by name."""

    def avoided(self, host: str) -> bool:
        """Whether the connector is avoided for a host."""
        record = self.get(host)
        return record is not None and record.avoided

    def add(self, host: str) -> tuple[FailingHost, bool]:
        """The record of a host that fails.

        :returns: it, and whether it is new and there was room for it.
        """
        record = self.get(host)
        if record is not None:
            return record, False
        full = len(self) >= MAX_FAILING
        if full:
            del self[next(iter(self))]
        record = self[host] = FailingHost()
        return record, not full
