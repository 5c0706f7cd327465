"""A client of all servers behind a name: one connector for each address that DNS gives, looked up again and again.

Requests stay at the server where they arrive then, and a server that has just started has its clients before visitors come to it.
The client counts once: it calls itself the same at all servers, and those that share their tunnels know it by that.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger

from rtunnel.client.connector import ConnectorClient
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.ids import short_id
from rtunnel.settings import ConnectorSettings
from rtunnel.transport.names import resolve
from rtunnel.wire.smux import INSTANCE_BITS

__all__ = ["WATCH", "AllServers", "resolve"]

WATCH: Final = 2.0
"""Seconds between two looks at the addresses of the name."""

MakeConnector = Callable[[str, int, Callable[[ConnectorClient], None]], ConnectorClient]
"""Makes the connector to an address, which calls itself by a number; with what to call when its lease has ended."""


class AllServers:
    """The connectors of one client to all servers of a name; owned by the client's service, like a single connector.

    An address that is new gets a connector. One that DNS does not give any longer keeps it as long as its link is up: whether a
    server is gone is not up to DNS.

    :param settings: those of each connector; ``server`` is the name.
    :param make: makes a connector.
    :param on_ended: called when the lease of one of them has ended: then all of them are to leave.
    :param reactor: for timers.
    :param look_up: finds the addresses of the name; an empty list if there are none.
    :ivar members: the connectors.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ConnectorSettings,
        *,
        make: MakeConnector,
        on_ended: Callable[[AllServers], None],
        reactor: Any,
        look_up: Callable[[], Deferred[list[str]]],
    ) -> None:
        self.settings = settings
        self.instance = secrets.randbits(INSTANCE_BITS)
        self._make = make
        self._on_ended = on_ended
        self._reactor = reactor
        self._look_up = look_up
        self._by_address: dict[str, ConnectorClient] = {}
        self._leaving: list[ConnectorClient] = []
        """Connectors without a link, to addresses that are gone."""
        self._timer: Any = None
        self._complained = False
        self._stopping = False
        self.ended = False
        """Whether the lease of one of them has ended."""

    @property
    def members(self) -> list[ConnectorClient]:
        """The connectors."""
        return list(self._by_address.values())

    @property
    def joined(self) -> bool:
        """Whether there is a link to any of the servers."""
        return any(member.joined for member in self.members)

    # -- life

    def start(self) -> None:
        """Look up the addresses, and join.

        :raises StartError: a file of the settings cannot be used.
        """
        ServerDialer(self.settings, self._reactor).check()
        self._look()

    def _look(self) -> None:
        self._timer = None
        self._look_up().addCallbacks(self._found, self._failed).addErrback(
            lambda failure: self._log.failure("error with the addresses of {name}", failure=failure, name=self.settings.server.host)
        )

    def _failed(self, failure: Any) -> None:
        """DNS does not answer: what is there stays."""
        self._found([])

    def _found(self, addresses: Iterable[str]) -> None:
        if self._stopping:
            return
        self._timer = self._reactor.callLater(WATCH, self._look)
        found = list(dict.fromkeys(addresses))
        if not found:
            self._complain()
            return
        self._complained = False
        for address in found:
            if address not in self._by_address:
                self._log.info(
                    "tunnel {tunnel}: joining the server of {name} at {address}",
                    tunnel=short_id(self.settings.tunnel),
                    name=self.settings.server.host,
                    address=address,
                )
                member = self._by_address[address] = self._make(address, self.instance, self._member_ended)
                member.start()
        for address, member in list(self._by_address.items()):
            if address not in found and not member.joined:
                self._let_go(address)

    def _complain(self) -> None:
        if not self._complained:
            self._complained = True
            self._log.warn(
                "the name {name} has no address now; looking it up again every {watch:g} s, the links that there are stay",
                name=self.settings.server.host,
                watch=WATCH,
            )

    def _let_go(self, address: str) -> None:
        member = self._by_address.pop(address)
        self._leaving.append(member)
        self._log.info("{name} has the address {address} no more", name=self.settings.server.host, address=address)
        member.stop().addCallback(lambda _: self._leaving.remove(member))

    def _member_ended(self, member: ConnectorClient) -> None:
        if not self.ended:
            self.ended = True
            self._on_ended(self)

    # -- as of a single connector

    def drain(self) -> None:
        """Ask for no more streams, and join no more."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for member in self.members:
            member.drain()

    def stop(self) -> Deferred[Any]:
        """Leave cleanly; fires when all links are gone."""
        self.drain()
        gone = [member.stop() for member in [*self.members, *self._leaving]]
        return DeferredList(gone, consumeErrors=True) if gone else succeed(None)

    @property
    def busy(self) -> bool:
        """Whether requests are in progress, as far as that can be known."""
        # all of them are asked: an answer is about the time since the last question
        activity = [member.busy for member in self.members]
        return any(activity)

    def cut(self) -> None:
        """Cut the links that did not close in time."""
        for member in [*self.members, *self._leaving]:
            member.cut()

    def woke(self) -> None:
        """The machine has slept."""
        for member in self.members:
            member.woke()
