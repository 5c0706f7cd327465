"""Where other servers connect: each that proves to be a peer opens streams for the connectors of this server."""

from __future__ import annotations

from functools import partial
from os import urandom
from typing import Any, Final
from uuid import UUID

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.start import PEER_LISTENER, StartError, cannot_listen
from rtunnel.outcomes import LinkEnd
from rtunnel.server.peers.forwarding import Forwarding
from rtunnel.server.peers.trust import HANDSHAKE_TIMEOUT, PeerTrust
from rtunnel.settings import Address
from rtunnel.transport.fixed_room import FixedRoom
from rtunnel.transport.rebindable_port import RebindablePort
from rtunnel.transport.sockets import host_and_port
from rtunnel.tunnel.bounds import LinkBounds
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.peers import NONCE, Challenge, Proof, Refusal, Verdict, take_proof
from rtunnel.wire.smux import Session

__all__ = ["PEER_BOUNDS", "PEER_KEEPALIVE", "PeerListener"]

MOST: Final = 1024
"""Connections of peers at once, with those whose handshake is not finished."""
PEER_KEEPALIVE: Final = Keepalive(1.0, 5.0)
"""Peers stand near each other, and one that is dead must not hold up requests for long."""
PEER_BOUNDS: Final = LinkBounds(64 << 20)
"""One link carries the requests for all connectors of a server."""
MOST_STREAMS: Final = 1 << 20

_WHY = {
    Refusal.WRONG_SECRET: "it does not have the secret of the peers",
    Refusal.WRONG_SERVER: "it means another server, which had this address before",
}


class PeerListener(Factory):
    """Admits peers; owned by what the server shares with others.

    :param server: the ID of this server.
    :param forwarding: takes the streams.
    :ivar links: those of peers that connected.
    """

    noisy = False
    log = Logger()

    def __init__(self, server: UUID, trust: PeerTrust, forwarding: Forwarding, stats: ServerStats, reactor: Any) -> None:
        self.server = server
        self.trust = trust
        self.forwarding = forwarding
        self.stats = stats
        self.reactor = reactor
        self.admissions: set[_Admission] = set()
        self.links: set[Link] = set()
        self._port: RebindablePort | None = None
        self._socket: IListeningPort | None = None

    def listen(self, address: Address) -> Address:
        """Open the port.

        :returns: the address, with the port that was opened.
        :raises StartError: it cannot be opened.
        """
        try:
            self._port = RebindablePort(self.reactor, address.host, address.port)
        except (CannotListenError, OSError) as error:
            raise cannot_listen(PEER_LISTENER, address, error) from error
        self._port.accepting.use(FixedRoom("peers", self.reactor, MOST))
        self.trust.accepting(self._port, self.refused).listen(self)
        return Address(address.host, self._port.port.getHost().port)

    def listen_at(self, path: str) -> None:
        """Open a unix socket instead, for the other processes of this machine.

        :raises StartError: it cannot be opened.
        """
        # late: there are none on Windows
        from rtunnel.transport.unix_sockets import listen_unix

        try:
            self._socket = listen_unix(self.reactor, path, self)
        except (CannotListenError, OSError) as error:
            raise StartError(f"the socket for the other workers cannot be opened: {error}") from error

    def buildProtocol(self, addr: Any) -> _Admission:
        return _Admission(self)

    def refused(self, who: str, reason: str) -> None:
        """Somebody was refused, before or after they said who they are."""
        self.stats.peers.refused += 1
        self.log.warn("refused {who} as a peer: {reason}", who=who, reason=reason)

    @property
    def busy(self) -> bool:
        """Whether streams of peers are open, or their last bytes wait for visitors that have no room yet."""
        return any(link.session.streams for link in self.links)

    def close(self) -> Deferred[None]:
        """Close the port and all links; fires when the port is closed."""
        for admission in list(self.admissions):
            admission.transport.abortConnection()
        for link in list(self.links):
            link.close(LinkEnd.SERVER_STOPPED)
        port, self._port = self._port, None
        listening, self._socket = self._socket, None
        if listening is not None:
            return maybeDeferred(listening.stopListening).addCallback(lambda _: None)
        return succeed(None) if port is None else maybeDeferred(port.close)


class _Admission(Handshake[Proof]):
    """One connection of a peer: the handshake, then the link."""

    def __init__(self, listener: PeerListener) -> None:
        super().__init__(take_proof, seconds=HANDSHAKE_TIMEOUT, reactor=listener.reactor)
        self._listener = listener
        self._challenge = Challenge(listener.server, urandom(NONCE))
        self._who = "?"

    def connectionMade(self) -> None:
        super().connectionMade()
        host, port = host_and_port(self.transport.getPeer())
        self._who = f"{host}:{port}" if host else "this machine"
        self._listener.admissions.add(self)
        self.transport.write(self._challenge.encode())

    def received(self, message: Proof) -> None:
        """Verify it."""
        secret = self._listener.trust.secret
        if not message.is_right(secret, self._challenge):
            self._refuse(Refusal.WRONG_SECRET)
        elif message.wanted != self._listener.server:
            self._refuse(Refusal.WRONG_SERVER)
        else:
            self.transport.write(Verdict(Refusal.NONE, message.counter(secret, self._challenge)).encode())
            self._begin(message.server)

    def _begin(self, server: UUID) -> None:
        listener = self._listener
        name = f"server {short_id(server)} at {self._who}"
        link = Link(
            Session(opens=False, max_streams=MOST_STREAMS),
            reactor=listener.reactor,
            keepalive=PEER_KEEPALIVE,
            bounds=PEER_BOUNDS,
            on_stream=listener.forwarding.accept,
            on_lost=partial(self._lost, name),
            peer=name,
        )
        listener.links.add(link)
        listener.stats.peers.links += 1
        listener.stats.peers.links_open += 1
        listener.log.info("{name} forwards requests to connectors of this server", name=name)
        self.switch_to_link(link)

    def _lost(self, name: str, link: Link, end: LinkEnd, text: str) -> None:
        listener = self._listener
        listener.links.discard(link)
        listener.stats.peers.links_open -= 1
        listener.stats.peers.losses[end] += 1
        listener.log.info("{name} forwards nothing any more: {reason}", name=name, reason=text)

    def _refuse(self, refusal: Refusal) -> None:
        self._listener.refused(self._who, _WHY[refusal])
        self.finish()
        self.transport.write(Verdict(refusal).encode())
        self.transport.loseConnection()

    def malformed(self, reason: str) -> None:
        self._listener.refused(self._who, reason)
        self.finish()
        self.transport.abortConnection()

    def expired(self) -> None:
        self.malformed("it said nothing in time")

    def finish(self) -> None:
        super().finish()
        self._listener.admissions.discard(self)
