"""Visitors behind a proxy that announces their addresses in a PROXY header."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Any, TypeAlias

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.server.deadlines import NEVER
from rtunnel.server.entrypoint.entrypoint import Entrypoint, Peer
from rtunnel.server.entrypoint.first_bytes import FirstBytes
from rtunnel.server.entrypoint.forwarding import within
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.sockets import host_and_port
from rtunnel.wire.proxyproto import ProxyAddress, ProxyHeader, ProxyProtocolError, take_proxy_header

__all__ = ["Network", "ProxiedEntrypoint", "ProxiedVisitor"]

Network: TypeAlias = IPv4Network | IPv6Network


class ProxiedEntrypoint(Factory):
    """Wraps an entrypoint: connections from proxies must begin with a PROXY header, those from other addresses must not.

    The presence of a header is never guessed (``doc/proxy-protocol.txt``, section 2): a proxy's connection without a header is
    closed, since its visitor is unknown; on any other connection a header is a malformed request, so no visitor can claim the
    address of another one.

    :param entrypoint: gets the connections once the header was read; owned by the service.
    :param proxies: the networks of the proxies.
    """

    noisy = False

    def __init__(self, entrypoint: Entrypoint, proxies: tuple[Network, ...]) -> None:
        self.entrypoint = entrypoint
        self.proxies = proxies

    def buildProtocol(self, addr: Any) -> Protocol:
        if within(host_and_port(addr)[0], self.proxies):
            return ProxiedVisitor(self.entrypoint)
        return FirstBytes(self.entrypoint)


class ProxiedVisitor(Protocol):
    """The connection of a proxy until its header was read; owned by the entrypoint. After that it is like any other visitor's."""

    transport: Any
    idle_since = 0.0
    busy = False
    read_paused = False
    deadline = NEVER

    def __init__(self, entrypoint: Entrypoint) -> None:
        self._entrypoint = entrypoint
        self._buffer = b""
        self._log = Logger()

    def connectionMade(self) -> None:
        entrypoint = self._entrypoint
        entrypoint.visitors.add(self)
        self.deadline = entrypoint.deadlines.now + entrypoint.settings.head_timeout
        entrypoint.deadlines.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        # a proxy that connects and closes without sending anything is a health check
        if self._leave() and self._buffer:
            self._refused("the connection was closed within the header")

    def _leave(self) -> bool:
        """Unregister from the entrypoint; returns whether it was registered."""
        entrypoint = self._entrypoint
        if self not in entrypoint.visitors:
            return False
        entrypoint.visitors.discard(self)
        entrypoint.deadlines.discard(self)
        return True

    def settings_changed(self) -> None:
        """Does nothing: the speaker will read them."""

    def drain(self) -> None:
        """Wait a moment for its header and its request."""
        self.busy = True
        self._entrypoint.hurry(self)

    def cut(self) -> None:
        """Cut the connection."""
        self._leave()
        self.transport.abortConnection()

    def expired(self) -> None:
        """The header was not received in time (called by the sweep)."""
        if self.busy and not self._buffer:
            # the server stops, and nobody wanted anything
            self._leave()
            self.transport.loseConnection()
        else:
            self._refuse("no header was received in time")

    def dataReceived(self, data: bytes) -> None:
        if self not in self._entrypoint.visitors:
            return
        self._buffer += data
        try:
            found = take_proxy_header(self._buffer)
        except ProxyProtocolError as error:
            self._refuse(str(error))
            return
        if found is not None:
            header, end = found
            self._hand_over(header, self._buffer[end:])

    def _hand_over(self, header: ProxyHeader, rest: bytes) -> None:
        """Continue as an ordinary visitor connection, with the announced address."""
        self._leave()
        source = header.source if isinstance(header.source, ProxyAddress) else None
        place = ITunnelTransport(self.transport).place()
        if source is not None and place is not None and not place.recount(source.host):
            self.transport.abortConnection()
            return
        visitor = FirstBytes(self._entrypoint, Peer(source.host, source.port) if source is not None else None)
        self.transport.protocol = visitor
        visitor.makeConnection(self.transport)  # type: ignore[no-untyped-call]
        if self.busy:
            visitor.drain()
        if rest:
            visitor.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        if self._leave():
            self._refused(reason)
        self.transport.abortConnection()

    def _refused(self, reason: str) -> None:
        self._entrypoint.stats.proxies_refused += 1
        self._log.warn("refused a connection of the proxy {proxy}: {reason}", proxy=Peer.of(self.transport).host, reason=reason)
