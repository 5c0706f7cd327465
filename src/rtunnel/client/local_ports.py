"""The local ports of the visitors of one process: opened together, changed by a reload, drained and closed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from rtunnel.client.associations import AssociationPort
from rtunnel.client.local_port import LocalPort
from rtunnel.client.visitor import VisitorPort
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.drain import drain
from rtunnel.ops.start import StartError
from rtunnel.settings import VisitorSettings
from rtunnel.settings.diff import BindKey, compare

__all__ = ["LocalPorts"]


class LocalPorts:
    """All local ports of visitors; owned by the client's service.

    :param wanted: what the user asked for.
    """

    def __init__(self, wanted: Iterable[VisitorSettings], *, stats: ClientStats, reactor: Any) -> None:
        self._stats = stats
        self._reactor = reactor
        self._ports = {key: self._port(settings) for key, settings in _keyed(wanted).items()}
        self._draining: list[Deferred[Any]] = []
        self._bound = False

    @property
    def ports(self) -> tuple[LocalPort, ...]:
        """In the order of the settings."""
        return tuple(self._ports.values())

    def _port(self, settings: VisitorSettings) -> LocalPort:
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
        """Begin to watch over the connections."""
        for port in self.ports:
            port.start()

    def reload(self, wanted: Iterable[VisitorSettings], drain_timeout: float) -> list[str]:
        """Open what is new, close what is no longer wanted, and have the rest do what other settings say; connections go on.

        :param drain_timeout: seconds that connections to a port that is closed may go on.
        :returns: what changed, for people, one line each.
        :raises StartError: a port cannot be opened, or a file not be used; then nothing has changed.
        """
        keyed = _keyed(wanted)
        difference = compare({key: port.settings for key, port in self._ports.items()}, keyed)
        started = {key: self._port(keyed[key]) for key in difference.start}
        # files are read here, before anything is touched
        dialers = {key: self._ports[key].dialer_for(keyed[key]) for key in difference.change}
        _listen(started.values())
        for port in started.values():
            port.start()
        for key, dialer in dialers.items():
            self._ports[key].change(keyed[key], dialer)
        for key in difference.stop:
            self._drain(self._ports[key], drain_timeout)
        self._ports = {key: started.get(key) or self._ports[key] for key in keyed}
        return [
            *(f"visitor at {key} opened" for key in difference.start),
            *(f"visitor at {key} changed" for key in difference.change),
            *(f"visitor at {key} closed" for key in difference.stop),
        ]

    def drain(self, drain_timeout: float) -> Deferred[None]:
        """Accept no more connections, also at ports that a reload has closed already.

        :param drain_timeout: seconds that those in progress get; then they are cut.
        :returns: fires when nothing is left.
        """
        for port in self.ports:
            self._drain(port, drain_timeout)
        return DeferredList(self._draining, consumeErrors=True).addCallback(lambda _: None)

    def _drain(self, port: LocalPort, drain_timeout: float) -> None:
        closed = port.close()
        drained = drain(port.poll_activity, self._reactor.seconds() + drain_timeout, self._reactor)
        gone = DeferredList([closed, drained.addCallback(lambda _: port.cut())], consumeErrors=True)
        self._draining.append(gone)
        gone.addCallback(lambda _: self._draining.remove(gone))


def _keyed(wanted: Iterable[VisitorSettings]) -> dict[BindKey, VisitorSettings]:
    key = BindKey.counter()
    return {key(settings.listen): settings for settings in wanted}


def _listen(ports: Iterable[LocalPort]) -> None:
    """Open all or none."""
    opened: list[LocalPort] = []
    for port in ports:
        try:
            port.listen()
        except StartError:
            for other in opened:
                other.close()
            raise
        opened.append(port)
