"""What callers ask of the leases, and what they may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any
from uuid import UUID

from attrs import frozen

from rtunnel.auth.access_control import AccessControl
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.routing.ingress import IngressTable, normalise_host
from rtunnel.routing.leases import LeaseEnd
from rtunnel.routing.permissions import Action
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.lease_manager import LeaseManager, PoolLease
from rtunnel.server.upstream import UpstreamPool
from rtunnel.wire.control import (
    Done,
    Listed,
    Message,
    QueryLeases,
    Refused,
    ReleaseLease,
    RenewLease,
    RevokeLease,
    TakeLease,
)

__all__ = ["Caller", "ControlCommands"]

MAX_LISTED = 1000
"""Entries of a list at most."""

_SEEING = (Action.LIST, Action.INTERCEPT, Action.GLOBAL, Action.ADMIN)
"""Whoever may do one of these sees the leases of a tunnel."""

Reply = Callable[[Message], None]


class _Refusal(Exception):
    """It is not done; the text says why."""


@frozen
class Caller:
    """Who asks, and what they may.

    Without users nobody is who they say; then the ID of a tunnel, which is a secret, is all that counts.

    :param grant: the authenticated user.
    :param access_control: of the listener.
    :param table: its ingress rules.
    :param tunnel: the tunnel that the caller names by its ID.
    """

    grant: Grant
    access_control: AccessControl
    table: IngressTable
    tunnel: UUID

    def may(self, action: Action, tunnel: UUID) -> bool:
        """Whether the caller may do something with a tunnel."""
        if not self.access_control.authenticates:
            return tunnel == self.tunnel
        return self.access_control.may(self.grant, action, tunnel, self.table.patterns(tunnel))

    def sees(self, tunnel: UUID) -> bool:
        """Whether the caller sees the leases of a tunnel."""
        return any(self.may(action, tunnel) for action in _SEEING)

    def visits(self, tunnel: UUID, host: str) -> bool:
        """Whether the caller may visit a host, and so may know who serves it."""
        return self.access_control.authenticates and self.access_control.may(self.grant, Action.VISIT, tunnel, (host,))

    def administers(self, tunnel: UUID) -> bool:
        """Whether the caller may end the leases of others; only by a rule that says so."""
        return self.access_control.administers(self.grant, tunnel, self.table.patterns(tunnel))

    def name(self, claimed: str) -> str:
        """Who the caller is: the user, or whom it claims to be."""
        return self.grant.user or claimed

    def owns(self, lease: PoolLease, claimed: str) -> bool:
        """Whether a lease is the caller's own."""
        return self.sees(lease.tunnel) and lease.user == self.grant.user and lease.holder == self.name(claimed)


class ControlCommands:
    """Carries out one message of a caller.

    :param caller: who it is.
    :param manager: the leases.
    :param registry: the connectors.
    """

    def __init__(self, caller: Caller, manager: LeaseManager, registry: TunnelRegistry[UpstreamPool]) -> None:
        self._caller = caller
        self._manager = manager
        self._registry = registry
        self._asked: PoolLease | None = None
        self._handlers: dict[type[Any], Callable[[Any, Reply], None]] = {
            QueryLeases: self._list,
            ReleaseLease: self._release,
            RenewLease: self._renew,
            RevokeLease: self._revoke,
            TakeLease: self._take,
        }

    def handle(self, message: Message, reply: Reply) -> None:
        """Do what a message says.

        :param reply: gets the answer, the last of which is :class:`Done` or :class:`Refused`; perhaps later.
        """
        handler = self._handlers.get(type(message))
        try:
            if handler is None:
                raise _Refusal("that is not a question; use a client of the same version")
            handler(message, reply)
        except _Refusal as refusal:
            reply(Refused(str(refusal)))

    def forget(self) -> None:
        """The caller is gone."""
        if self._asked is not None:
            self._manager.forget(self._asked)

    # -- list

    def _list(self, message: QueryLeases, reply: Reply) -> None:
        tunnels = [self._tunnel(message.host)] if message.host else self._visible()
        listed = [entry for tunnel in tunnels for entry in self._entries(tunnel)]
        for entry in listed[:MAX_LISTED]:
            reply(entry)
        reply(Done("" if len(listed) <= MAX_LISTED else f"and {len(listed) - MAX_LISTED} more", len(listed)))

    def _tunnel(self, host: str) -> UUID:
        """The tunnel of a host, if the caller may know who serves it.

        :raises _Refusal: otherwise.
        """
        host = normalise_host(host)
        rule = self._caller.table.lookup(host)
        if rule is None or not (self._caller.sees(rule.tunnel) or self._caller.visits(rule.tunnel, host)):
            # whether there is a rule is none of their business
            raise _Refusal(f'no ingress rule leads "{host}" to a tunnel that you may see; with its own ID (--tunnel) you may')
        return rule.tunnel

    def _visible(self) -> list[UUID]:
        tunnels = {tunnel.id for tunnel in self._registry.tunnels} | {lease.tunnel for lease in self._manager.leases}
        return sorted((tunnel for tunnel in tunnels if self._caller.sees(tunnel)), key=str)

    def _entries(self, tunnel: UUID) -> Iterator[Listed]:
        leases = [lease for lease in self._manager.leases if lease.tunnel == tunnel]
        for lease in sorted(leases, key=lambda lease: lease.since):
            yield self._entry(lease)
        joined = self._registry.get(tunnel)
        for connector in () if joined is None else joined.connectors:
            if self._manager.leases.of(connector) is None:
                yield self._unleased(connector)

    def _entry(self, lease: PoolLease) -> Listed:
        leases = self._manager.leases
        return Listed(
            lease=lease.id,
            tunnel=short_id(lease.tunnel),
            hosts=", ".join(self._caller.table.patterns(lease.tunnel)),
            name=lease.name,
            holder=lease.holder,
            reason=lease.reason,
            what=lease.what,
            age=leases.now - lease.since,
            left=leases.left(lease),
            used=-1.0 if lease.used is None else leases.now - lease.used,
            state="held" if lease.connector is None else "joined",
        )

    def _unleased(self, connector: Connector[UpstreamPool]) -> Listed:
        return Listed(
            tunnel=short_id(connector.tunnel),
            hosts=", ".join(self._caller.table.patterns(connector.tunnel)),
            name=connector.name,
            holder=connector.user or connector.name,
            what=" or ".join(map(str, connector.filters)) or f"weight {connector.weight}",
            state="joined",
        )

    # -- leases of one's own

    def _own(self, caller: str, name: str) -> list[PoolLease]:
        """The caller's own leases of a name, all of them without one.

        :raises _Refusal: there are none.
        """
        visible = [lease for lease in self._manager.leases if self._caller.sees(lease.tunnel) and _is(lease, name)]
        own = [lease for lease in visible if self._caller.owns(lease, caller)]
        if own:
            return own
        who = self._caller.name(caller)
        if visible and name:
            raise _Refusal(f'"{name}" belongs to {visible[0].holder}, not to {who}; "rtunnel revoke" needs the right admin')
        raise _Refusal(f'{who} has no lease{f" {name}" if name else ""} here; "rtunnel list" shows them all')

    def _release(self, message: ReleaseLease, reply: Reply) -> None:
        own = self._own(message.caller, message.name)
        self._end(own, LeaseEnd.RELEASED, self._caller.name(message.caller))
        reply(Done(f"released {_names(own)}", len(own)))

    def _renew(self, message: RenewLease, reply: Reply) -> None:
        own = self._own(message.caller, message.name)
        left = [self._manager.renew(lease, message.lease) for lease in own]
        ends = f", ends in {min(left):.0f} s" if min(left) else ""
        reply(Done(f"renewed {_names(own)}{ends}", len(own)))

    # -- leases of others

    def _revoke(self, message: RevokeLease, reply: Reply) -> None:
        found = [lease for lease in self._manager.leases if message.name and _is(lease, message.name)]
        allowed = [lease for lease in found if self._caller.administers(lease.tunnel)]
        if not allowed:
            if any(self._caller.sees(lease.tunnel) for lease in found):
                raise _Refusal("that needs the right admin in the permissions file of the server (--permissions)")
            raise _Refusal(f'no lease here is called "{message.name}"; "rtunnel list" shows them all')
        self._end(allowed, LeaseEnd.REVOKED, self._caller.grant.user, message.because)
        reply(Done(f"revoked {_names(allowed)}", len(allowed)))

    def _take(self, message: TakeLease, reply: Reply) -> None:
        tunnel = self._tunnel(message.host)
        if not (self._caller.may(Action.INTERCEPT, tunnel) or self._caller.may(Action.GLOBAL, tunnel)):
            raise _Refusal("the permissions do not allow you to join that tunnel")
        lease = self._taken(message, tunnel)
        who = self._caller.name(message.caller)
        if message.over:
            if lease.connector is not None:
                raise _Refusal(f"the link of {lease.name} is up; ask for it with --ask")
            self._end([lease], LeaseEnd.TAKEN, who, message.because)
            reply(Done(f"took over from {lease.name}, whose link is lost", 1))
        elif lease.connector is None:
            raise _Refusal(f"the link of {lease.name} is lost, so nobody can be asked; take it with --take-over")
        elif not self._manager.ask(lease, who, message.because, partial(self._answered, lease, reply)):
            raise _Refusal(f"somebody else has asked {lease.name} already; try again in a minute")
        else:
            self._asked = lease

    def _taken(self, message: TakeLease, tunnel: UUID) -> PoolLease:
        """The lease that is to be taken, rather one with filters than a pod's.

        :raises _Refusal: there is none, or more than one.
        """
        others = [
            lease
            for lease in self._manager.leases
            if lease.tunnel == tunnel and _is(lease, message.name) and not self._caller.owns(lease, message.caller)
        ]
        if not others:
            raise _Refusal(f"nobody else has a lease there{f' called {message.name}' if message.name else ''}")
        others = [lease for lease in others if lease.filters] or others
        if len(others) > 1:
            raise _Refusal(f"several have leases there; say whose with --from: {_names(others)}")
        return others[0]

    def _answered(self, lease: PoolLease, reply: Reply, end: LeaseEnd | None) -> None:
        self._asked = None
        if end is None:
            reply(Refused(f"{lease.name} is using it: a request has come since"))
        else:
            reply(Done(f"{lease.name} has given way ({end})", 1))

    def _end(self, leases: Iterable[PoolLease], cause: LeaseEnd, by: str, text: str = "") -> None:
        for lease in leases:
            self._manager.end(lease, cause, by, text)


def _is(lease: PoolLease, name: str) -> bool:
    """Whether a lease is called that; all are without a name."""
    return not name or name in (lease.name, lease.id, lease.holder)


def _names(leases: Iterable[PoolLease]) -> str:
    return ", ".join(dict.fromkeys(lease.name or lease.id for lease in leases))
