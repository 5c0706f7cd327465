"""What a command reaches of a pod: ports that lead there, and names for them where it is isolated."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from rtunnel.cli.exit_status import CommandError
from rtunnel.client.pod.destinations import Destinations
from rtunnel.client.pod.link import PodLinkClient
from rtunnel.client.pod.local_programs import Forward, LocalPrograms
from rtunnel.isolation.names import Destination, NamedHost, addresses_for, named_hosts
from rtunnel.isolation.tiers import Tier, first_unprivileged_port
from rtunnel.podenv.rewriting import LocalAddress
from rtunnel.routing.reach import Special, special_name
from rtunnel.routing.reach_list import ReachList
from rtunnel.running.isolating import Isolated
from rtunnel.running.supervising import SupervisorError
from rtunnel.settings import Address, LocalForward
from rtunnel.transport.passed_sockets import PassedSocket
from rtunnel.wire.proxy_server import Wanted

__all__ = ["CommandReach", "destinations", "first_permitted_port", "unlisted"]

MAX_PORTS = 20
"""Ports of one rule that get a listener each; a rule with more needs the proxy, or a forward."""
MAX_TRIES = 20
"""Addresses that are tried for a host when others have them."""
PROXY_WITHIN = Address("127.0.0.1", 1080)
"""The proxy in a network where nothing else listens."""
ANY_PORT = Address("127.0.0.1", 0)
"""A port of the system's choice."""


def destinations(listed: ReachList, forwards: Iterable[LocalForward]) -> list[Destination]:
    """The services that can be listed: those of forwards, and of rules that name one host and few ports."""
    found = [Destination(forward.host, forward.port, listed.names(forward.host)) for forward in forwards]
    for rule in listed.rules:
        if rule.is_literal and not rule.udp and rule.last - rule.first < MAX_PORTS:
            names = listed.names(rule.host)
            found += [Destination(rule.host, port, names) for port in range(rule.first, rule.last + 1)]
    return found


def unlisted(listed: ReachList) -> list[str]:
    """The rules that allow more than can be listed."""
    return [str(rule) for rule in listed.rules if not rule.udp and (not rule.is_literal or rule.last - rule.first >= MAX_PORTS)]


def first_permitted_port() -> int:
    """The first port at which this user may listen."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 1))
        except PermissionError:
            return first_unprivileged_port()
        except OSError:
            # in use, so permitted
            pass
    return 1


def _can_be_named(host: str) -> bool:
    """Whether a host is a name, and none that every machine has."""
    if special_name(host) is Special.LOOPBACK:
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        return False
    return True


class CommandReach:
    """The ports of one command; owned by the session.

    :param link: to the server.
    :param isolated: where the command is.
    :param first_port: at which this user may listen outside of a network of its own.
    :ivar programs: the ports and their connections.
    :ivar names: of hosts of the cluster, by the address that stands for them.
    :ivar forwards: the ports that lead to one destination each.
    :ivar proxy: the proxy, if there is one.
    """

    _log = Logger()

    def __init__(self, link: PodLinkClient, isolated: Isolated, first_port: int, reactor: Any) -> None:
        self.programs = LocalPrograms(link, reactor, destinations=Destinations(link, reactor))
        self.names: dict[str, tuple[str, ...]] = {}
        self.forwards: list[Forward] = []
        self.proxy: Address | None = None
        self._isolated = isolated
        self._first = first_port

    async def open(
        self, found: Collection[Destination], forwards: Iterable[LocalForward], proxy: Address | None, *, proxied: bool
    ) -> None:
        """Open all ports.

        :param found: the services that can be listed.
        :param forwards: those that the user asks for.
        :param proxy: likewise.
        :param proxied: whether variables lead to another proxy already.
        :raises StartError: a port cannot be opened.
        :raises CommandError: likewise.
        """
        for forward in forwards:
            wanted = Forward(forward.listen, Wanted(forward.host, forward.port))
            self.forwards.append(self.programs.forward(wanted, await self._socket(forward.listen)))
        proxy = proxy or self._usual_proxy(bool(found), proxied)
        if proxy is not None:
            self.proxy = self.programs.proxy(proxy, await self._socket(proxy))
        if self._isolated.tier is Tier.NONE:
            self._open_unnamed(found)
        else:
            for host in named_hosts(one for one in found if _can_be_named(one.host)):
                await self._open_named(host)

    def _usual_proxy(self, reaches: bool, proxied: bool) -> Address | None:
        """The proxy that nobody has asked for, if there has to be one.

        In a network of its own a command reaches nothing else without it. Where names do not resolve, programs that know proxies
        need not be told local addresses; another proxy stays in force, since it may be the only way out of this machine's network.
        """
        if self._isolated.tier is Tier.NET:
            return PROXY_WITHIN
        return ANY_PORT if self._isolated.tier is Tier.NONE and reaches and not proxied else None

    def _open_unnamed(self, found: Iterable[Destination]) -> None:
        """A port of the system's choice for each service that has none yet."""
        have = {(forward.to.host, forward.to.port) for forward in self.forwards}
        for destination in found:
            to = destination.host, destination.port
            if to not in have:
                have.add(to)
                self.forwards.append(self.programs.forward(Forward(ANY_PORT, Wanted(*to))))

    async def _open_named(self, host: NamedHost) -> None:
        """Have the services of a host at the first address at which all of their ports are free.

        :raises CommandError: there is none.
        """
        ports = {port: name for port, name in host.ports.items() if self._permitted(port)}
        if len(ports) < len(host.ports):
            left_out = ", ".join(f"{name}:{port}" for port, name in host.ports.items() if port not in ports)
            self._log.warn(
                "no listener for {left_out}: ports below {first} need --isolate net", left_out=left_out, first=self._first
            )
        if not ports:
            return
        for address in islice(addresses_for(host, self.names), MAX_TRIES):
            if self._isolated.tier is Tier.NET or _all_free(address, ports):
                break
        else:
            raise CommandError(f"{MAX_TRIES} addresses of loopback for {host.names[0]} are taken; end other runs of this command")
        for port, name in ports.items():
            listen = Address(address, port)
            self.forwards.append(self.programs.forward(Forward(listen, Wanted(name, port)), await self._socket(listen)))
        self.names[address] = host.names

    def _permitted(self, port: int) -> bool:
        return self._isolated.tier is Tier.NET or port >= self._first

    async def _socket(self, listen: Address) -> PassedSocket | None:
        """The listening socket of the command's own network, if it has one.

        :raises CommandError: it cannot be opened there.
        """
        if self._isolated.tier is not Tier.NET:
            return None
        try:
            descriptor = await self._isolated.supervising.listen(listen.host, listen.port)
        except SupervisorError as error:
            raise CommandError(f"cannot listen on {listen} in the network of the command: {error}") from None
        listening = socket.socket(fileno=descriptor)
        listening.setblocking(False)
        return PassedSocket(listening, str(listen))

    def local_addresses(self, listed: ReachList) -> list[LocalAddress]:
        """Where this machine reaches what, for values that say where the pod does.

        :param listed: knows the names of hosts.
        """
        return [
            LocalAddress(listed.names(forward.to.host), forward.to.port, forward.listen.host, forward.listen.port)
            for forward in self.forwards
        ]

    def close(self) -> Deferred[Any]:
        """Close the ports, and cut what is open."""
        return self.programs.close()


def _all_free(address: str, ports: Iterable[int]) -> bool:
    """Whether nobody listens at any port of an address."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True
