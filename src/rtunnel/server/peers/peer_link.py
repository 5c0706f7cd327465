"""The way to one peer: a link that is kept up, over which streams are opened for the connectors of that server."""

from __future__ import annotations

from collections.abc import Callable
from os import urandom
from random import random
from typing import Any, Final
from uuid import UUID

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from rtunnel.ids import short_id
from rtunnel.metrics.stats import ServerStats
from rtunnel.outcomes import LinkEnd
from rtunnel.registry.records import ServerRecord
from rtunnel.server.peers.peer_listener import PEER_BOUNDS, PEER_KEEPALIVE
from rtunnel.server.peers.trust import HANDSHAKE_TIMEOUT, PeerTrust
from rtunnel.transport.reasons import reason_of
from rtunnel.tunnel.backoff import Backoff
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Link
from rtunnel.wire.peers import NONCE, Challenge, Proof, Refusal, Verdict, take_challenge, take_verdict
from rtunnel.wire.smux import Session

__all__ = ["PeerLink", "Self"]

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 5.0
"""Seconds between two attempts to reach a peer, at first and at most."""
SUSPECT_AFTER: Final = 2.0
"""Seconds without a sign of life of a peer that has requests to answer, after which it is avoided."""

_WHY = {
    Refusal.WRONG_SECRET: "it has another secret; give all servers the same --peer-secret-file",
    Refusal.WRONG_SERVER: "another server listens there now",
    None: "it refuses peers for a reason that this version does not know",
}


@attrs.frozen
class Self:
    """What a server needs of itself to reach others.

    :ivar server: its ID.
    :ivar endpoint_for: where a server is reached, by the address of its record.
    """

    server: UUID
    trust: PeerTrust
    endpoint_for: Callable[[str], IStreamClientEndpoint]
    stats: ServerStats
    reactor: Any


class PeerLink:
    """The link to one other server, tried again and again until it is closed; owned by the remote connectors.

    :param record: what the shared registry says of that server.
    :param me: this server.
    :param on_up: called when the link is up.
    :param on_down: called when it is lost after that.
    :param on_suspect: called when :attr:`suspect` has changed.
    :ivar link: the link, None while it is not up.
    :ivar tried: whether it is up, or has failed for the first time.
    """

    _log = Logger()

    def __init__(
        self,
        record: ServerRecord,
        me: Self,
        *,
        on_up: Callable[[], None],
        on_down: Callable[[], None],
        on_suspect: Callable[[], None],
    ) -> None:
        self.server = record.id
        self.name = f"server {short_id(record.id)} ({record.name or '?'}) at {record.address}"
        self.link: Link | None = None
        self.tried = False
        self.suspect = False
        """Whether it gives no sign of life, while requests are waiting."""
        self._endpoint = me.endpoint_for(record.address)
        self._me = me
        self._on_up = on_up
        self._on_down = on_down
        self._on_suspect = on_suspect
        self._backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, random)
        self._connecting: Deferred[Any] | None = None
        self._dial: _Dial | None = None
        self._timer: Any = None
        self._silence = 0.0
        self._complained = ""
        self._closed = False

    # -- up

    def open(self) -> None:
        """Begin to connect."""
        self._timer = None
        self._connecting = self._endpoint.connect(_Dials(self, self._me))
        self._connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, dial: _Dial) -> None:
        self._connecting, self._dial = None, dial

    def _not_connected(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None or not self._closed:
            self.failed(reason_of(failure))

    def failed(self, reason: str) -> None:
        """The attempt has failed: try again after a while."""
        self._connecting = self._dial = None
        if self._closed or self._timer is not None:
            return
        self.tried = True
        self._me.stats.peers.refused += 1
        if reason != self._complained:
            self._complained = reason
            self._log.warn(
                "{name} cannot be reached, so its connectors get no requests from here: {reason}", name=self.name, reason=reason
            )
        self._timer = self._me.reactor.callLater(self._backoff.wait(), self.open)

    def make_link(self) -> Link:
        """The link of a connection whose handshake is done."""
        return Link(
            Session(opens=True),
            reactor=self._me.reactor,
            keepalive=PEER_KEEPALIVE,
            bounds=PEER_BOUNDS,
            on_lost=self._lost,
            peer=self.name,
        )

    def opened(self, link: Link) -> None:
        """The link is up."""
        self._dial = None
        self.link = link
        self.tried = True
        self._complained = ""
        self._backoff.reset()
        self._silence = 0.0
        stats = self._me.stats.peers
        stats.links += 1
        stats.links_open += 1
        link.ask()
        self._log.info("the link to {name} is up", name=self.name)
        self._on_up()

    # -- down

    def _lost(self, link: Link, end: LinkEnd, text: str) -> None:
        self.link = None
        self.suspect = False
        stats = self._me.stats.peers
        stats.links_open -= 1
        stats.losses[end] += 1
        self._log.info("the link to {name} is lost: {reason}", name=self.name, reason=text)
        self._on_down()
        if not self._closed:
            self._timer = self._me.reactor.callLater(self._backoff.wait(), self.open)

    def close(self) -> None:
        """End it, and try no more."""
        self._closed = True
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if self.link is not None:
            self.link.close(LinkEnd.CLOSED, "it is not needed any more")
        elif self._dial is not None:
            self._dial.transport.abortConnection()
        elif self._connecting is not None:
            self._connecting.cancel()

    # -- alive

    @property
    def carrying(self) -> int:
        """How many streams are open."""
        return 0 if self.link is None else self.link.carrying

    def sweep(self, step: float) -> None:
        """Watch for signs of life, as long as streams are open; the keepalive does the rest."""
        link = self.link
        if link is None:
            return
        if link.poll_heard() or not link.carrying:
            self._silence = 0.0
        else:
            link.probe()
            self._silence += step
        suspect = self._silence >= SUSPECT_AFTER
        if suspect != self.suspect:
            self.suspect = suspect
            says = "gives no sign of life: requests go to others, if there are any" if suspect else "is there again"
            self._log.warn("{name} {says}", name=self.name, says=says)
            self._on_suspect()


class _Dials(Factory):
    """Makes the one connection of an attempt."""

    noisy = False

    def __init__(self, owner: PeerLink, me: Self) -> None:
        self._owner = owner
        self._me = me

    def buildProtocol(self, addr: Any) -> _Dial:
        return _Dial(self._owner, self._me)


class _Dial(Handshake[Any]):
    """One connection to a peer: the handshake, then the link."""

    def __init__(self, owner: PeerLink, me: Self) -> None:
        super().__init__(take_challenge, seconds=HANDSHAKE_TIMEOUT, reactor=me.reactor)
        self._owner = owner
        self._me = me
        self._challenge: Challenge | None = None
        self._proof: Proof | None = None
        self._failed = False

    def received(self, message: Any) -> None:
        """Prove who this is, then see whether the other one is who it should be."""
        if self._challenge is None:
            self._challenge = message
            self._proof = Proof.of(self._me.trust.secret, message, self._me.server, self._owner.server, urandom(NONCE))
            self.transport.write(self._proof.encode())
            self._take = take_verdict
        else:
            self._judge(message)

    def _judge(self, verdict: Verdict) -> None:
        assert self._proof is not None and self._challenge is not None
        if verdict.refusal is not Refusal.NONE:
            self.malformed(_WHY[verdict.refusal])
        elif verdict.mac != self._proof.counter(self._me.trust.secret, self._challenge):
            self.malformed(_WHY[Refusal.WRONG_SECRET])
        elif self._challenge.server != self._owner.server:
            self.malformed(_WHY[Refusal.WRONG_SERVER])
        else:
            link = self._owner.make_link()
            self.switch_to_link(link)
            self._owner.opened(link)

    def malformed(self, reason: str) -> None:
        self._fail(reason)
        self.transport.abortConnection()

    def expired(self) -> None:
        self.malformed("it did not answer in time")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.link is None:
            self._fail(reason_of(reason))

    def _fail(self, reason: str) -> None:
        self.finish()
        if not self._failed:
            self._failed = True
            self._owner.failed(reason)
