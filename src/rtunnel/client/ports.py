"""The local ports of the visitors of one process: opened together, changed by a reload, closed in good order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from rtunnel.client.associations import AssociationPort
from rtunnel.client.visitor import VisitorPort
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.start import StartError
from rtunnel.settings import VisitorSettings
from rtunnel.settings.diff import BindKey, compare

__all__ = ["VisitorPorts"]

DRAIN_STEP = 0.05
"""Seconds between two looks whether the last connection stands still."""


class VisitorPorts:
    """All local ports of visitors; owned by the client's service.

    :param wanted: what the user asked for.
    """

    def __init__(self, wanted: Iterable[VisitorSettings], *, stats: ClientStats, reactor: Any) -> None:
        self._stats = stats
        self._reactor = reactor
        self._ports = {spot: self._port(settings) for spot, settings in _spots(wanted).items()}
        self._bound = False

    @property
    def ports(self) -> tuple[VisitorPort, ...]:
        """In the order of the settings."""
        return tuple(self._ports.values())

    def _port(self, settings: VisitorSettings) -> VisitorPort:
        kind = AssociationPort if settings.datagrams else VisitorPort
        return kind(settings, stats=self._stats, reactor=self._reactor)

    def listen(self) -> None:
        """Open all ports, if that was not done before.

        :raises StartError: when one cannot be opened; none stays open then.
        """
        if not self._bound:
            _listen(self.ports)
            self._bound = True

    def start(self) -> None:
        """Begin to look after the connections."""
        for port in self.ports:
            port.start()

    def reload(self, wanted: Iterable[VisitorSettings], patience: float) -> list[str]:
        """Open what is new, close what is wanted no more, and have the rest do what other settings say; connections go on.

        :param patience: seconds that connections to a port that is closed may go on.
        :returns: what changed, for people, one line each.
        :raises StartError: a port cannot be opened, or a file not be used; then nothing has changed.
        """
        spots = _spots(wanted)
        difference = compare({spot: port.settings for spot, port in self._ports.items()}, spots)
        started = {spot: self._port(spots[spot]) for spot in difference.start}
        # files are read here, before anything is touched
        ways = {spot: self._ports[spot].dialer_for(spots[spot]) for spot in difference.change}
        _listen(started.values())
        for port in started.values():
            port.start()
        for spot, way in ways.items():
            self._ports[spot].change(spots[spot], way)
        for spot in difference.stop:
            self._leave(self._ports[spot], patience)
        self._ports = {spot: started.get(spot) or self._ports[spot] for spot in spots}
        return [
            *(f"visitor at {spot} opened" for spot in difference.start),
            *(f"visitor at {spot} changed" for spot in difference.change),
            *(f"visitor at {spot} closed" for spot in difference.stop),
        ]

    def leave(self, patience: float) -> Deferred[None]:
        """Take no more connections; fires when those under way have come to rest, or were cut because the time was over."""
        gone = [self._leave(port, patience) for port in self.ports]
        return DeferredList(gone, consumeErrors=True).addCallback(lambda _: None)

    def _leave(self, port: VisitorPort, patience: float) -> Deferred[Any]:
        done: Deferred[None] = Deferred()
        closed = port.close()
        self._await(port, self._reactor.seconds() + patience, done)
        return DeferredList([closed, done], consumeErrors=True)

    def _await(self, port: VisitorPort, until: float, done: Deferred[None]) -> None:
        if port.busy and self._reactor.seconds() < until:
            self._reactor.callLater(DRAIN_STEP, self._await, port, until, done)
            return
        port.cut()
        done.callback(None)


def _spots(wanted: Iterable[VisitorSettings]) -> dict[BindKey, VisitorSettings]:
    spot = BindKey.counter()
    return {spot(settings.listen): settings for settings in wanted}


def _listen(ports: Iterable[VisitorPort]) -> None:
    """Open all or none."""
    opened: list[VisitorPort] = []
    for port in ports:
        try:
            port.listen()
        except StartError:
            for other in opened:
                other.close()
            raise
        opened.append(port)
