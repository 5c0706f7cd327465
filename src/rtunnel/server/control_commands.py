"""What callers ask of the leases, and what they may."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from uuid import UUID

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.python.failure import Failure

from rtunnel import __version__
from rtunnel.auth.access_control import AccessControl
from rtunnel.auth.authenticator import Grant
from rtunnel.ids import short_id
from rtunnel.routing.ingress import IngressTable, normalise_host
from rtunnel.routing.leases import LeaseEnd
from rtunnel.routing.permissions import Action
from rtunnel.server.lease_book import KnownLease, LeaseBook, Unleased
from rtunnel.server.lease_calls import CallFailed
from rtunnel.wire.control import (
    Allowed,
    Done,
    Listed,
    Message,
    QueryLeases,
    QueryRights,
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

    def rights(self, host: str) -> list[Action]:
        """What the caller may do with the tunnel of a host; nothing, if no rule leads it to one that they may know."""
        host = normalise_host(host)
        rule = self.table.lookup(host)
        if rule is None or not (self.access_control.authenticates or rule.tunnel == self.tunnel):
            return []
        patterns = self.table.patterns(rule.tunnel)
        hosts = {action: (host,) if action is Action.VISIT else patterns for action in Action}
        return [action for action in Action if self.access_control.may(self.grant, action, rule.tunnel, hosts[action])]

    def name(self, claimed: str) -> str:
        """Who the caller is: the user, or whom it claims to be."""
        return self.grant.user or claimed

    def owns(self, lease: KnownLease, claimed: str) -> bool:
        """Whether a lease is the caller's own."""
        return self.sees(lease.tunnel) and lease.user == self.grant.user and lease.holder == self.name(claimed)


class ControlCommands:
    """Carries out one message of a caller.

    :param caller: who it is.
    :param book: the leases, those of other servers too.
    """

    def __init__(self, caller: Caller, book: LeaseBook) -> None:
        self._caller = caller
        self._book = book
        self._asked: Deferred[LeaseEnd | None] | None = None
        self._handlers: dict[type[Any], Callable[[Any, Reply], None]] = {
            QueryLeases: self._list,
            QueryRights: self._rights,
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
            self._asked.cancel()

    # -- list

    def _list(self, message: QueryLeases, reply: Reply) -> None:
        tunnels = [self._tunnel(message.host)] if message.host else self._visible()
        listed = [entry for tunnel in tunnels for entry in self._entries(tunnel)]
        for entry in listed[:MAX_LISTED]:
            reply(entry)
        more = f"and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        outdated = (
            "the shared registry cannot be reached, so what is at other servers may have changed" if self._book.outdated else ""
        )
        reply(Done("; ".join(filter(None, (more, outdated))), len(listed)))

    def _rights(self, message: QueryRights, reply: Reply) -> None:
        reply(Allowed(self._caller.grant.user, ",".join(self._caller.rights(message.host)), __version__))
        reply(Done(count=1))

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
        return sorted((tunnel for tunnel in self._book.tunnels if self._caller.sees(tunnel)), key=str)

    def _entries(self, tunnel: UUID) -> Iterator[Listed]:
        yield from map(self._entry, self._book.of_tunnel(tunnel))
        yield from map(self._unleased, self._book.unleased(tunnel))

    def _entry(self, lease: KnownLease) -> Listed:
        return Listed(
            lease=lease.id,
            tunnel=short_id(lease.tunnel),
            hosts=", ".join(self._caller.table.patterns(lease.tunnel)),
            name=lease.name,
            holder=lease.holder,
            reason=lease.reason,
            what=lease.what,
            age=lease.age,
            left=lease.left,
            used=lease.used,
            state="held" if lease.held else "joined",
        )

    def _unleased(self, connector: Unleased) -> Listed:
        return Listed(
            tunnel=short_id(connector.tunnel),
            hosts=", ".join(self._caller.table.patterns(connector.tunnel)),
            name=connector.name,
            holder=connector.holder,
            what=connector.what,
            state="joined",
        )

    # -- leases of one's own

    def _own(self, caller: str, name: str) -> list[KnownLease]:
        """The caller's own leases of a name, all of them without one.

        :raises _Refusal: there are none.
        """
        visible = [lease for lease in self._book if self._caller.sees(lease.tunnel) and _is(lease, name)]
        own = [lease for lease in visible if self._caller.owns(lease, caller)]
        if own:
            return own
        who = self._caller.name(caller)
        if visible and name:
            raise _Refusal(f'"{name}" belongs to {visible[0].holder}, not to {who}; "rtunnel revoke" needs the right admin')
        raise _Refusal(f'{who} has no lease{f" {name}" if name else ""} here; "rtunnel list" shows them all')

    def _release(self, message: ReleaseLease, reply: Reply) -> None:
        own = self._own(message.caller, message.name)
        self._end(own, LeaseEnd.RELEASED, self._caller.name(message.caller), "", reply, f"released {_names(own)}")

    def _renew(self, message: RenewLease, reply: Reply) -> None:
        own = self._own(message.caller, message.name)

        def renewed(left: list[float]) -> Done:
            ends = f", ends in {min(left):.0f} s" if min(left) else ""
            return Done(f"renewed {_names(own)}{ends}", _count(own))

        renewals = [self._book.renew(lease, message.lease) for lease in own]
        _reply_later(gatherResults(renewals, consumeErrors=True).addCallback(renewed), reply)

    # -- leases of others

    def _revoke(self, message: RevokeLease, reply: Reply) -> None:
        found = [lease for lease in self._book if message.name and _is(lease, message.name)]
        allowed = [lease for lease in found if self._caller.administers(lease.tunnel)]
        if not allowed:
            if any(self._caller.sees(lease.tunnel) for lease in found):
                raise _Refusal("that needs the right admin in the permissions file of the server (--permissions)")
            raise _Refusal(f'no lease here is called "{message.name}"; "rtunnel list" shows them all')
        by = self._caller.grant.user
        self._end(allowed, LeaseEnd.REVOKED, by, message.because, reply, f"revoked {_names(allowed)}")

    def _take(self, message: TakeLease, reply: Reply) -> None:
        tunnel = self._tunnel(message.host)
        if not (self._caller.may(Action.INTERCEPT, tunnel) or self._caller.may(Action.GLOBAL, tunnel)):
            raise _Refusal("the permissions do not allow you to join that tunnel")
        lease = self._taken(message, tunnel)
        who = self._caller.name(message.caller)
        if message.over:
            if not lease.held:
                raise _Refusal(f"the link of {lease.name} is up; ask for it with --ask")
            done = f"took over from {lease.name}, whose link is lost"
            self._end(self._book.twins(lease), LeaseEnd.TAKEN, who, message.because, reply, done)
        elif lease.held:
            raise _Refusal(f"the link of {lease.name} is lost, so nobody can be asked; take it with --take-over")
        else:
            self._asked = self._book.ask(lease, who, message.because)
            _reply_later(self._asked.addCallback(lambda end: self._answered(lease, end, who)), reply)

    def _taken(self, message: TakeLease, tunnel: UUID) -> KnownLease:
        """The lease that is to be taken, rather one with filters than a pod's.

        :raises _Refusal: there is none, or more than one.
        """
        others = [
            lease
            for lease in self._book.of_tunnel(tunnel)
            if _is(lease, message.name) and not self._caller.owns(lease, message.caller)
        ]
        if not others:
            raise _Refusal(f"nobody else has a lease there{f' called {message.name}' if message.name else ''}")
        others = [lease for lease in others if lease.filtered] or others
        if len(others) > 1:
            raise _Refusal(f"several have leases there; say whose with --from: {_names(others)}")
        return others[0]

    def _answered(self, lease: KnownLease, end: LeaseEnd | None, who: str) -> Message:
        self._asked = None
        if end is None:
            return Refused(f"{lease.name} is using it: a request has come since")
        for twin in self._book.twins(lease) if end is LeaseEnd.TAKEN else ():
            # what it has at other servers
            self._book.end(twin, LeaseEnd.TAKEN, who).addErrback(lambda failure: failure.trap(CallFailed))
        return Done(f"{lease.name} has given way ({end})", 1)

    def _end(self, leases: Sequence[KnownLease], cause: LeaseEnd, by: str, text: str, reply: Reply, done: str) -> None:
        """End leases, then say so."""
        ends = [self._book.end(lease, cause, by, text) for lease in leases]
        _reply_later(gatherResults(ends, consumeErrors=True).addCallback(lambda _: Done(done, _count(leases))), reply)


def _reply_later(answer: Deferred[Any], reply: Reply) -> None:
    """Reply with an answer once it is there, or with why another server has not done it."""

    def failed(failure: Failure) -> Message | None:
        failure.trap(CallFailed, CancelledError, FirstError)
        error = failure.value.subFailure.value if isinstance(failure.value, FirstError) else failure.value
        # who is gone gets no answer
        return None if isinstance(error, CancelledError) else Refused(str(error))

    def send(message: Message | None) -> None:
        if message is not None:
            reply(message)

    answer.addErrback(failed).addCallback(send)


def _is(lease: KnownLease, name: str) -> bool:
    """Whether a lease is called that; all are without a name."""
    return not name or name in (lease.name, lease.id, lease.holder)


def _count(leases: Iterable[KnownLease]) -> int:
    """How many there are; one that a client has at several servers is one."""
    return len({lease.client for lease in leases})


def _names(leases: Iterable[KnownLease]) -> str:
    return ", ".join(dict.fromkeys(lease.name or lease.id for lease in leases))
