"""A local port that leads to a private tunnel: what those of TCP and of UDP have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.client.local_visit import LocalVisit
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.client.visit_endpoint import VisitClientEndpoint
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ClientStats
from rtunnel.ops.start import VISITOR, cannot_listen
from rtunnel.outcomes import LocalPortOutcome
from rtunnel.settings import VisitorSettings
from rtunnel.tunnel.link import Keepalive
from rtunnel.wire.relay import Command, Network, RelayAddress, Request, TunnelFeature

__all__ = ["LocalPort"]


class LocalPort(ABC):
    """One local port of a visitor; owned by the client's service, and the owner of its visits.

    :param settings: where to listen, what to visit.
    :param endpoint: how to reach the server; by default what the settings say.
    :ivar visits: the connections, or associations, that are open.
    """

    _log = Logger()

    def __init__(
        self,
        settings: VisitorSettings,
        *,
        stats: ClientStats,
        reactor: Any,
        endpoint: IStreamClientEndpoint | None = None,
    ) -> None:
        self.settings = settings
        self.stats = stats
        self.reactor = reactor
        self.keepalive = Keepalive(settings.mux.keepalive_interval, settings.mux.keepalive_timeout)
        self.visits: set[LocalVisit] = set()
        self._dialer = ServerDialer(settings, reactor)
        self._endpoint = endpoint
        self._listening: Any = None
        self._moved = -1
        self._checking = LoopingCall(self._check)
        self._checking.clock = reactor

    # -- what TCP and UDP do differently

    @abstractmethod
    def _listen(self, host: str, port: int) -> IListeningPort:
        """Open the port.

        :raises CannotListenError: it is in use, or not permitted.
        """

    def _awaits_answer(self) -> bool:
        """Whether an answer is awaited on some connection."""
        return False

    # -- life

    def listen(self) -> None:
        """Open the port.

        :raises StartError: when it cannot be opened, or a file that the settings name cannot be used.
        """
        self._dialer.check()
        listen = self.settings.listen
        try:
            self._listening = self._listen(listen.host, listen.port)
        except (CannotListenError, OSError) as error:
            raise cannot_listen(VISITOR, listen, error) from error
        self._log.info(
            "{address} leads to {to} in tunnel {tunnel} at {server}",
            address=self.address,
            to=self.to,
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
        )

    def start(self) -> None:
        """Begin to watch over the connections."""
        if self.keepalive.interval:
            self._checking.start(self.keepalive.interval, now=False)

    def dialer_for(self, settings: VisitorSettings) -> ServerDialer:
        """Make the dialer of other settings.

        :raises StartError: a file that they name cannot be used.
        """
        dialer = ServerDialer(settings, self.reactor)
        dialer.check()
        return dialer

    def change(self, settings: VisitorSettings, dialer: ServerDialer) -> None:
        """Do from the next connection on what other settings say; those that are open go on.

        :param settings: for the same port.
        :param dialer: made by :meth:`dialer_for` for these settings.
        """
        self.settings = settings
        self._dialer = dialer

    def close(self) -> Deferred[Any]:
        """Accept no more connections; fires when the port is free."""
        listening, self._listening = self._listening, None
        return maybeDeferred(listening.stopListening if listening is not None else _nothing)

    def cut(self) -> None:
        """Cut what is left."""
        if self._checking.running:
            self._checking.stop()
        for visit in list(self.visits):
            visit.abort(LocalPortOutcome.STOPPED)

    def poll_activity(self) -> bool:
        """Tell whether bytes moved since the last call, or an answer is awaited.

        Each call starts a new interval, so there is one caller: the drain of the port.
        """
        moved = sum(visit.moved for visit in self.visits)
        before, self._moved = self._moved, moved
        return bool(self.visits) and (moved != before or self._awaits_answer())

    def _check(self) -> None:
        for visit in list(self.visits):
            visit.check()

    # -- called by the visits (VisitOwner)

    def visit_endpoint(self, source: RelayAddress) -> VisitClientEndpoint:
        settings = self.settings
        request = Request(
            command=Command.CONNECT,
            network=Network.UDP if settings.datagrams else Network.TCP,
            credentials=(settings.credentials.user, settings.credentials.password) if settings.credentials else None,
            addresses=(source, RelayAddress(settings.to.host, settings.to.port)),
            tunnel=TunnelFeature(settings.tunnel),
        )
        server = self._endpoint or self._dialer.endpoint
        return VisitClientEndpoint(server, request, reactor=self.reactor, timeout=settings.handshake_timeout)

    def begun(self, visit: LocalVisit) -> None:
        self.visits.add(visit)
        self.stats.visitors_open += 1

    def rejected(self, peer: str, reason: str) -> None:
        self._log.warn(
            "{peer} cannot visit {to} in tunnel {tunnel} at {server}: {reason}",
            peer=peer,
            to=self.to,
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
            reason=reason,
        )

    def ended(self, visit: LocalVisit, outcome: LocalPortOutcome, up: int = 0, down: int = 0) -> None:
        stats = self.stats
        self.visits.discard(visit)
        stats.visitors_open -= 1
        stats.visitors[outcome] += 1
        stats.visitor_bytes_in += up
        stats.visitor_bytes_out += down

    # -- names

    @property
    def address(self) -> str:
        """Where local programs connect, with the port that is bound."""
        listen = self.settings.listen
        port = listen.port if self._listening is None else self._listening.getHost().port
        return f"{'udp://' if self.settings.datagrams else ''}{listen.host or '*'}:{port}"

    @property
    def server(self) -> str:
        """The server's address, for logs."""
        return str(self.settings.server)

    @property
    def to(self) -> str:
        """The destination as a user types it."""
        to = self.settings.to
        return str(to) if to.port else to.host


def _nothing() -> None:
    """The port is free already."""
