"""The ceiling of all bytes that a server buffers: over it no new request is begun, while those in progress go on.

Each visitor, stream and link has a bound of its own; many of them together may still be more than the memory. What they hold is
added up in the sweep, so that it costs nothing per request, and only when the process is so large that it may be too much.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.memory import resident_memory
from rtunnel.outcomes import Limit
from rtunnel.routing.tunnels import TunnelRegistry
from rtunnel.server.upstream import UpstreamPool

__all__ = ["BufferCeiling"]

LOW = 0.9
"""The share of the ceiling under which new requests are begun again."""


class BufferCeiling:
    """Has no connector selected while too much is buffered; owned by the service, whose sweep calls it.

    :param ceiling: bytes; 0 for none.
    :param buffered: adds up what is buffered.
    :param registry: is suspended while it is too much.
    :param resident: the memory of the process, which is at least what is buffered; None where the system does not tell.
    """

    _log = Logger()

    def __init__(
        self,
        ceiling: int,
        buffered: Callable[[], int],
        registry: TunnelRegistry[UpstreamPool],
        stats: ServerStats,
        resident: Callable[[], int | None] = resident_memory,
    ) -> None:
        self._ceiling = ceiling
        self._buffered = buffered
        self._registry = registry
        self._stats = stats
        self._resident = resident

    def sweep(self) -> None:
        """Compare what is buffered with the ceiling."""
        if not self._ceiling:
            return
        suspended = self._registry.suspended
        resident = self._resident()
        if not suspended and resident is not None and resident <= self._ceiling:
            return
        buffered = self._buffered()
        if not suspended and buffered > self._ceiling:
            self._registry.suspended = True
            self._stats.reach(Limit.MAX_BUFFERED)
            self._log.warn(
                "{buffered} MiB are buffered for visitors and clients that read too slowly, more than --max-buffered: new requests "
                "are refused with 503 until it is less",
                buffered=buffered >> 20,
            )
        elif suspended and buffered < LOW * self._ceiling:
            self._registry.suspended = False
            self._log.info("{buffered} MiB are buffered: new requests are served again", buffered=buffered >> 20)
