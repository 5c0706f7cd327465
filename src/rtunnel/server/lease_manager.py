"""Leases in a running server: clients are told about theirs, and connectors whose lease has ended are drained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from secrets import token_hex
from typing import Final, Protocol
from uuid import UUID

from twisted.logger import Logger

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import Limit, LinkEnd
from rtunnel.routing.intercepts import Conflict
from rtunnel.routing.leases import Due, Former, Lease, LeaseEnd, Leases, LeaseTerms
from rtunnel.routing.pods import PodOffer
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.server.control_stream import MAX_MESSAGES, ControlStream, Surroundings
from rtunnel.server.deadlines import SWEEP
from rtunnel.server.drain_queue import DrainingConnector, DrainQueue
from rtunnel.server.intercept_admission import winner_of
from rtunnel.server.share_news import MAX_TOLD, Controls, ShareNews
from rtunnel.server.upstream import UpstreamPool
from rtunnel.tunnel.link import LinkClosed
from rtunnel.wire.control import (
    MAX_WHAT,
    VERSION,
    Asked,
    AskShare,
    Ended,
    Expires,
    Granted,
    Hello,
    Joined,
    Left,
    Message,
    Overlaps,
    Renewed,
    RenewLease,
    clean,
)

__all__ = ["ASK_TIME", "LeaseManager", "LeaseSharing", "PoolLease"]

MAX_STEP = 2 * SWEEP
"""Seconds that one sweep counts at most."""
ASK_TIME: Final = 60.0
"""Seconds in which a request must come for a holder to keep what somebody asks for."""

MAX_MISSED: Final = 1000
"""Clients that are told when they come back that their lease has ended; of more, the latest ones."""

PoolLease = Lease[UpstreamPool]

_HELD = (LinkEnd.CLOSED, LinkEnd.LOST, LinkEnd.KEEPALIVE_TIMEOUT, LinkEnd.STALLED, LinkEnd.OVERFLOWED)
"""The ends of a link after which its client may come back. (One that leaves says so before.)"""
_COMES_BACK = (LeaseEnd.LOST, LeaseEnd.LEFT)
"""The ends of a lease after which its client may have another one."""
_DUE = {Due.EXPIRED: LeaseEnd.EXPIRED, Due.IDLE: LeaseEnd.IDLE, Due.WISHED: LeaseEnd.TAKEN, Due.LOST: LeaseEnd.LOST}


class LeaseSharing(Protocol):
    """Hears what happens to leases, to tell other servers, and knows of theirs."""

    def former(self, connector: Connector[UpstreamPool]) -> Former | None:
        """The lease that the client of a connector has, or had, at another server."""

    def others(self, lease: PoolLease) -> list[Joined]:
        """What the client of a lease is told of those at other servers; nothing of many."""

    def changed(self, lease: PoolLease) -> None:
        """A lease has begun, or something else is true of it."""

    def held(self, lease: PoolLease, connector: Connector[UpstreamPool]) -> None:
        """The link of a lease is lost."""

    def ended(self, lease: PoolLease) -> None:
        """It is over."""

    def missed(self, lease: PoolLease, ended: Ended) -> None:
        """Its client may not have heard that it has ended, and come back to another server."""

    def sweep(self, seconds: float) -> None:
        """Time passes."""


class LeaseManager:
    """The leases of a server, and the control streams over which clients hear of them; owned by the service, which sweeps it.

    :param registry: where the connectors are.
    :param draining: where those go whose lease has ended.
    :param drain_timeout: the seconds that their requests get.
    :ivar leases: all of them.
    :ivar sharing: with other servers, if there are any.
    """

    _log = Logger()

    def __init__(
        self,
        registry: TunnelRegistry[UpstreamPool],
        draining: DrainQueue,
        drain_timeout: Callable[[], float],
        stats: ServerStats,
    ) -> None:
        self.leases: Leases[UpstreamPool] = Leases(lambda: token_hex(4), lambda connector: connector.pool.busy)
        self.sharing: LeaseSharing | None = None
        self._registry = registry
        self._draining = draining
        self._drain_timeout = drain_timeout
        self._stats = stats
        self._controls: Controls = {}
        self._shares = ShareNews(registry, self._controls)
        self._watchers: dict[PoolLease, Callable[[LeaseEnd | None], None]] = {}
        self._missed: dict[tuple[UUID, str, bytes], Ended] = {}
        """What clients may not have heard, because their link was lost, or was about to be."""
        self._swept: float | None = None

    # -- connectors

    def offered(self, connector: Connector[UpstreamPool], token: str, terms: LeaseTerms, surroundings: Surroundings) -> None:
        """The client of a connector takes a control stream.

        :param token: what it knows the stream by.
        :param terms: of the lease that it gets.
        :param surroundings: what it is told of its tunnel.
        """
        controls = self._controls.setdefault(connector.tunnel, {})
        if connector in controls:
            return
        control = ControlStream(connector, terms, self._received, surroundings)
        try:
            control.open(token)
        except LinkClosed:
            return
        controls[connector] = control

    def leaves(self, connector: Connector[UpstreamPool]) -> None:
        """The client of a connector is about to leave."""
        lease = self.leases.of(connector)
        if lease is not None:
            self._end(lease, LeaseEnd.LEFT)

    def lost(self, connector: Connector[UpstreamPool], end: LinkEnd) -> None:
        """The link of a connector is lost: its lease is held for a client that may come back."""
        controls = self._controls.get(connector.tunnel, {})
        controls.pop(connector, None)
        if not controls:
            self._controls.pop(connector.tunnel, None)
        lease = self.leases.of(connector)
        if lease is None:
            return
        if end not in _HELD:
            self._end(lease, LeaseEnd.FORBIDDEN if end in (LinkEnd.FORBIDDEN, LinkEnd.UNROUTED) else LeaseEnd.LOST)
            return
        if self._holds(lease, self.leases.hold(lease)):
            self._mention(lease, Left(lease.name, lease.what))
            self._audit(lease, "held for {hold:g} s, since its link is lost", hold=lease.terms.hold)
            if self.sharing is not None:
                self.sharing.held(lease, connector)

    def keep(self, lease: PoolLease, seconds: float) -> bool:
        """Hold a lease of another server, which stops; see :meth:`~rtunnel.routing.leases.Leases.keep`.

        :returns: whether it is held; not if too many are.
        """
        if not self._holds(lease, self.leases.keep(lease, seconds)):
            return False
        self._audit(lease, "held for another {seconds:.0f} s, for a server that stops", seconds=seconds)
        return True

    def _holds(self, lease: PoolLease, surplus: PoolLease | None) -> bool:
        """End the one of the held leases that is too many; returns whether a lease is still held."""
        if surplus is not None:
            if surplus.terms.hold:
                self._stats.reach(Limit.HELD_LEASES)
            self._end(surplus, LeaseEnd.LOST)
        if lease not in self.leases:
            return False
        if lease.filters:
            self._registry.gone(lease.tunnel, lease)
        return True

    def gone_elsewhere(self, lease: PoolLease) -> None:
        """The client of a lease whose link is lost is attached to another server, where the lease goes on."""
        self.leases.end(lease)
        self._note_end(lease)
        self._audit(lease, "goes on at another server")
        self._answer(lease, None)

    def _note_end(self, lease: PoolLease) -> None:
        """A lease is none of this server any more."""
        self._registry.no_longer_gone(lease.tunnel, lease)
        if self.sharing is not None:
            self.sharing.ended(lease)

    def _changed(self, lease: PoolLease) -> None:
        if self.sharing is not None:
            self.sharing.changed(lease)

    # -- messages of clients

    def _received(self, control: ControlStream, message: Message) -> None:
        lease = self.leases.of(control.connector)
        if isinstance(message, Hello):
            joined = self._registry.get(control.connector.tunnel)
            if lease is None and message.version == VERSION and joined is not None and control.connector in joined:
                self._greet(control, message)
        elif isinstance(message, RenewLease) and lease is not None:
            self.renew(lease, message.lease)
        elif isinstance(message, AskShare) and control.greeted:
            self._shares.tell(control)

    def _greet(self, control: ControlStream, hello: Hello) -> None:
        """Give the client of a control stream its lease, and tell it and the others of each other."""
        connector = control.connector
        missed = self._missed.get((connector.tunnel, connector.user, connector.instance))
        if missed is not None:
            control.send(missed)
            self._drain(connector, missed.cause)
            return
        connector.name = connector.name or hello.name
        if not connector.filters:
            # who may have some requests only must not pass for the pod
            connector.offer = PodOffer.of(hello.offers, hello.token)
        former = None if self.sharing is None else self.sharing.former(connector)
        lease, resumed = self.leases.grant(connector, connector.name, hello.reason, hello.lease, control.terms, former)
        self._registry.no_longer_gone(lease.tunnel, lease)
        self._changed(lease)
        left = self.leases.left(lease)
        control.send(Granted(left, lease.terms.idle, resumed))
        control.greeted = True
        self._shares.tell(control)
        self._audit(
            lease,
            ("resumed" if resumed else "granted") + " for {what}{end}{reason}",
            what=clean(lease.what, MAX_WHAT),
            end=f", ends in {left:.0f} s" if left else "",
            reason=f', "{lease.reason}"' if lease.reason else "",
        )
        for other in self._others(lease):
            control.mention(Joined(other.name, other.what, other.reason))
        for joined in () if self.sharing is None else self.sharing.others(lease):
            control.mention(joined)
        # also of one that is back: they were told that its link was lost
        self._mention(lease, Joined(lease.name, lease.what, lease.reason, new=True))

    def _others(self, lease: PoolLease) -> list[PoolLease]:
        """The other leases of a tunnel whose link is up, if they are few."""
        controls = self._controls.get(lease.tunnel, {})
        if len(controls) > MAX_TOLD:
            return []
        leases = [self.leases.of(connector) for connector in controls]
        return [other for other in leases if other is not None and other is not lease]

    def _mention(self, lease: PoolLease, message: Message) -> None:
        """Tell the others of a tunnel something about a lease."""
        controls = self._controls.get(lease.tunnel, {})
        for other in self._others(lease):
            if other.connector is not None:
                controls[other.connector].mention(message)

    def mention(self, tunnel: UUID, message: Message) -> None:
        """Tell the clients of a tunnel something about one of another server."""
        for connector, control in self._controls.get(tunnel, {}).items():
            if self.leases.of(connector) is not None:
                control.mention(message)

    def tells(self, tunnel: UUID) -> bool:
        """Whether clients of a tunnel are told of others: there are some, and not too many."""
        return 0 < len(self._controls.get(tunnel, ())) <= MAX_TOLD

    def warn_of_overlaps(self, name: str, holder: str, overlaps: Iterable[Conflict[Connector[UpstreamPool]]]) -> None:
        """Tell others that somebody who joins wants some of the same requests, and who gets these.

        :param name: of who joins.
        :param holder: whose filters the wanted ones are.
        """
        told: set[Connector[UpstreamPool]] = set()
        for overlap in overlaps:
            other = overlap.connector
            control = self._controls.get(other.tunnel, {}).get(other)
            if control is not None and other not in told and len(told) < MAX_TOLD:
                told.add(other)
                control.mention(Overlaps(name, str(overlap.wanted), str(overlap.filter), winner_of(overlap, holder)))

    def _tell(self, lease: PoolLease, message: Message) -> None:
        """Tell the client of a lease something, if its link is up."""
        control = self._controls.get(lease.tunnel, {}).get(lease.connector) if lease.connector is not None else None
        if control is not None:
            control.send(message)

    # -- what happens to a lease

    def renew(self, lease: PoolLease, wanted: float) -> float:
        """Have a lease end later.

        :param wanted: seconds from now; 0 for as long as at its beginning.
        :returns: the seconds until then; 0 for no end.
        """
        self.leases.renew(lease, wanted)
        left = self.leases.left(lease)
        self._changed(lease)
        self._tell(lease, Renewed(left))
        self._audit(lease, "renewed, " + ("ends in {left:.0f} s" if left else "without an end"), left=left)
        return left

    def end(self, lease: PoolLease, cause: LeaseEnd, by: str = "", text: str = "") -> None:
        """End a lease: its client is told, its connector drained.

        :param by: who ends it.
        :param text: what they say.
        """
        ended = Ended(cause, by, text)
        self._tell(lease, ended)
        if lease.instance and cause not in _COMES_BACK:
            self.note_missed(lease.tunnel, lease.user, lease.instance, ended)
            if self.sharing is not None:
                self.sharing.missed(lease, ended)
        self._drain(self._end(lease, cause, by, text), cause)

    def note_missed(self, tunnel: UUID, user: str, instance: bytes, ended: Ended) -> None:
        """A client may not have heard that its lease has ended: it is told when it joins once more."""
        self._missed[tunnel, user, instance] = ended
        if len(self._missed) > MAX_MISSED:
            del self._missed[next(iter(self._missed))]

    def ask(self, lease: PoolLease, by: str, text: str, answered: Callable[[LeaseEnd | None], None]) -> bool:
        """Ask the holder of a lease to give it up.

        :param answered: called with the end of the lease, or with None when it is used; not if the caller forgets it.
        :returns: whether they are asked; not if somebody else has asked already.
        """
        if lease in self._watchers:
            return False
        self._watchers[lease] = answered
        self.leases.wish(lease, by, ASK_TIME)
        self._tell(lease, Asked(by, text, ASK_TIME))
        self._audit(lease, "asked for by {by}", by=by)
        return True

    def forget(self, lease: PoolLease) -> None:
        """Who asked for a lease is gone."""
        if self._watchers.pop(lease, None) is not None:
            lease.wished_by = ""

    def _end(self, lease: PoolLease, cause: LeaseEnd, by: str = "", text: str = "") -> Connector[UpstreamPool] | None:
        self._mention(lease, Left(lease.name, lease.what, cause))
        connector = self.leases.end(lease)
        self._note_end(lease)
        self._audit(
            lease,
            "ended: {cause}{by}{text}",
            cause=cause.value,
            by=f" by {by}" if by else "",
            text=f', "{text}"' if text else "",
        )
        self._answer(lease, cause)
        return connector

    def _drain(self, connector: Connector[UpstreamPool] | None, cause: str) -> None:
        """A connector gets no more requests, and its link is closed after those in progress."""
        if connector is not None:
            self._registry.remove(connector)
            connector.pool.retire()
            self._draining.add(DrainingConnector(connector.pool, LinkEnd.LEASE_ENDED, cause), self._drain_timeout())

    def _answer(self, lease: PoolLease, cause: LeaseEnd | None) -> None:
        watcher = self._watchers.pop(lease, None)
        if watcher is not None:
            watcher(cause)

    # -- time

    def sweep(self, now: float) -> None:
        """Count the time, and do what has become due."""
        step = SWEEP if self._swept is None else min(now - self._swept, MAX_STEP)
        self._swept = now
        for controls in self._controls.values():
            for control in controls.values():
                control.quota = MAX_MESSAGES
        self._shares.sweep()
        if self.sharing is not None:
            self.sharing.sweep(step)
        for lease, due in self.leases.advance(step):
            if due is Due.EXPIRES:
                self._tell(lease, Expires(self.leases.left(lease)))
            elif due is Due.IDLES:
                self._tell(lease, Expires(lease.terms.idle - (self.leases.now - lease.active), idle=True))
            elif due is Due.USED:
                self._answer(lease, None)
            elif lease in self.leases:
                self.end(lease, _DUE[due], by=lease.wished_by if due is Due.WISHED else "")

    def _audit(self, lease: PoolLease, event: str, **details: object) -> None:
        self._log.info(
            "lease {lease} of {holder} on tunnel {tunnel} " + event,
            lease=lease.id,
            holder=clean(lease.holder),
            tunnel=short_id(lease.tunnel),
            **details,
        )
