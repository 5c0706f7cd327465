"""Whether the registry is there, and since when: said once in the log when that changes, and to the server."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from rtunnel.metrics.stats import RegistryStats

__all__ = ["Availability"]


class Availability:
    """How it goes with a registry; owned by it.

    :param address: of the registry, for the log.
    :param on_change: called with whether it is available.
    :param stats: where outages are counted.
    :ivar complete: whether all was known once.
    :ivar reason: why it is not available; set before :meth:`look` is called.
    """

    _log = Logger()

    def __init__(self, address: str, on_change: Callable[[bool], None], stats: RegistryStats) -> None:
        self._address = address
        self._on_change = on_change
        self._stats = stats
        self._available = False
        self._told = ""
        """The reason that was logged last."""
        self._since = 0.0
        self.complete = False
        self.reason = ""

    def look(self, *, available: bool, whole: bool, servers: int, now: float) -> None:
        """Notice how it is now.

        :param whole: whether nothing is missing of what others have.
        :param servers: how many others are known.
        """
        if available and whole and not self.complete:
            self.complete = True
            self._log.info(
                "shared registry {address}: all is known of {servers} other servers", address=self._address, servers=servers
            )
        if available:
            self.reason = ""
            if self._told:
                self._told = ""
                self._log.info(
                    "shared registry {address}: available again after {seconds:.0f} s",
                    address=self._address,
                    seconds=now - self._since,
                )
        elif self.reason and self.reason != self._told:
            if not self._told:
                self._since = now
            self._told = self.reason
            self._log.warn(
                "shared registry {address}: {reason}; requests go on with what is known, but clients that intercept cannot join",
                address=self._address,
                reason=self.reason,
            )
        if available != self._available:
            self._available = available
            self._stats.outages += not available
            self._on_change(available)
