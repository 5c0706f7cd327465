"""A connector: joins a tunnel, and comes back after every loss, forever.

A server that is about to stop says so. Then the connector joins again, at the same address, behind which there may be another
server; the link that it has goes on meanwhile, until that server closes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from random import random
from time import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorThreads, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from rtunnel.client.control import ClientLease
from rtunnel.client.dialing import EndpointFor
from rtunnel.client.http_forwarder import HttpForwarder, needs_http
from rtunnel.client.intercepting import MAY_NOT_KNOW, NOT_GRANTED, describe_conflict, example_request, share_links
from rtunnel.client.pod.offers import PodOffers
from rtunnel.client.refusals import CLOSED_EARLY, describe_malformed_answer, describe_refusal, describe_silence
from rtunnel.client.repeats import Repeats
from rtunnel.client.server_dialer import ServerDialer
from rtunnel.client.share_report import ShareReport
from rtunnel.client.stream_budget import StreamBudget
from rtunnel.client.targets import Forwarder
from rtunnel.ids import short_id
from rtunnel.metrics.stats import ClientStats
from rtunnel.outcomes import LinkEnd
from rtunnel.routing.intercept_terms import listed
from rtunnel.settings import Address, ConnectorSettings
from rtunnel.settings.checks import plain
from rtunnel.transport.interfaces import ITunnelTransport
from rtunnel.transport.listening import is_local, nothing_listens
from rtunnel.transport.reasons import reason_of
from rtunnel.transport.sockets import end_when_stalled
from rtunnel.tunnel.backoff import Backoff
from rtunnel.tunnel.handshake import Handshake
from rtunnel.tunnel.link import Link
from rtunnel.tunnel.opening import open_link
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.control import CONTROL_HOST, Member, Share
from rtunnel.wire.relay import (
    NO_METADATA,
    Command,
    Network,
    RelayAddress,
    Request,
    Response,
    Status,
    TunnelFeature,
    take_response,
)
from rtunnel.wire.relay_intercepts import AS_POD, InterceptAnswer, InterceptRequest
from rtunnel.wire.smux import INSTANCE_BITS

if TYPE_CHECKING:
    from rtunnel.client.watch import Watch

__all__ = ["ConnectorClient"]

STABLE_AFTER = 10.0
"""Seconds that a link must have been up for the next wait to be the shortest again."""
WAKE_TIMEOUT = 3.0
"""Seconds in which a link must give a sign of life when the machine has slept."""


class ConnectorClient:
    """Keeps one client attached to its tunnel; owned by the client's service.

    It has a current connection, which is the attempt to join or the link that came of it, and the former links, whose servers are
    about to stop.

    :param settings: which server, tunnel and target.
    :param address: the one of the server's addresses that is meant; by default any.
    :param instance: what it calls itself, so that servers know it when it comes back; by default a number of its own.
    :param target_follows: whether the target is started after the join.
    :param budget: how many streams the process may have; by default any number.
    :param on_joined: called each time the tunnel is joined.
    :param on_ended: called when its lease has ended: then it joins no more.
    :param endpoint: how to reach the server; by default what the settings say.
    :param target_endpoint: how to reach a target; by default its socket.
    :param random: gives numbers from 0 to 1, for the waits between attempts.
    :param wall: the time of day, which goes on while the machine sleeps.
    """

    _log = Logger()

    def __init__(
        self,
        settings: ConnectorSettings,
        *,
        stats: ClientStats,
        reactor: Any,
        on_joined: Callable[[], None],
        on_ended: Callable[[ConnectorClient], None] = lambda connector: None,
        address: str | None = None,
        instance: int | None = None,
        target_follows: bool = False,
        budget: StreamBudget | None = None,
        endpoint: IStreamClientEndpoint | None = None,
        target_endpoint: EndpointFor | None = None,
        random: Callable[[], float] = random,
        wall: Callable[[], float] = time,
    ) -> None:
        self.settings = settings
        self.instance = secrets.randbits(INSTANCE_BITS) if instance is None else instance
        self._address = address or settings.server.host
        self._target_follows = target_follows
        self.id: UUID | None = None
        """The ID that the server gave us when we joined last."""
        self.since = 0.0
        """When we joined last, in seconds of the epoch."""
        forwarder = HttpForwarder if needs_http(settings.target, settings.forward) else Forwarder
        self.forwarder: Forwarder = forwarder(
            targets=settings.target,
            settings=settings.forward,
            timeout=settings.connect_timeout,
            stats=stats,
            reactor=reactor,
            budget=budget,
            udp=settings.udp,
            endpoint_for=target_endpoint,
        )
        self.pod = PodOffers(settings, self.forwarder, reactor, target_endpoint)
        self.lease = ClientLease(
            settings, wall, partial(on_ended, self), self._share_told, offers=self.pod.names, pod_token=self.pod.token
        )
        self.shares = ShareReport(settings, self.lease.say, reactor)
        self.forwarder.reserved = self._reserved
        self._stats = stats
        self._reactor = reactor
        self._on_joined = on_joined
        self._backoff = Backoff(settings.backoff_min, settings.backoff_max, random)
        self._repeats = Repeats()
        self._dialer = ServerDialer(settings, reactor, address)
        self._endpoint = endpoint or self._dialer.endpoint
        self._attempt: Deferred[Any] | None = None
        self._timer: Any = None
        self._current: BindHandshake | None = None
        self._former: list[BindHandshake] = []
        self._joined_at = 0.0
        self._stopping = False
        self._gone: Deferred[None] | None = None

    def _reserved(self, stream: TunnelStream, preface: Response) -> Any:
        """The protocol of a stream that is for no target."""
        if preface.addresses[-1].host == CONTROL_HOST:
            return self.lease.accept(preface.addresses[0].host)
        return self.pod.accept(stream, preface)

    # -- life

    def start(self) -> None:
        """Begin to join.

        :raises StartError: a file of the settings cannot be used.
        """
        self._dialer.check()
        self.forwarder.start()
        self._try()

    @property
    def members(self) -> list[ConnectorClient]:
        """Itself: see :attr:`rtunnel.client.all_servers.AllServers.members`."""
        return [self]

    @property
    def ended(self) -> bool:
        """Whether its lease has ended."""
        return self.lease.ended is not None

    def watch(self, watch: Watch) -> None:
        """Have what comes shown."""
        self.forwarder.watch = watch.connector(self.settings, self.shares.view)

    def drain(self) -> None:
        """Ask for no more streams, and join no more."""
        self._stopping = True
        self._cancel_attempt()
        for connection in self._connections:
            connection.drain()

    def stop(self) -> Deferred[None]:
        """Leave the tunnel cleanly; fires when the link is gone."""
        if self._gone is not None:
            return self._gone
        self._stopping = True
        self.forwarder.stop()
        done = self._gone = Deferred()
        self._cancel_attempt()
        for connection in self._connections:
            connection.leave()
        self._finish()
        return done

    def _cancel_attempt(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._attempt is not None:
            self._attempt.cancel()

    @property
    def busy(self) -> bool:
        """Whether requests are in progress, as far as that can be known; asked by the drain alone.

        A server of ours ends the streams that carry none when we leave, so each that is open carries one. Another server keeps
        them: there it depends on whether bytes move.
        """
        links = self._links
        if any(link.session.buffered for link in links):
            # the last bytes of an answer, for which its visitor has no room yet
            return True
        if links and all(link.knows_signals for link in links):
            return bool(self.forwarder.open)
        return self.forwarder.poll_activity()

    def cut(self) -> None:
        """Cut the links that did not close in time."""
        for connection in self._connections:
            connection.cut()

    def woke(self) -> None:
        """The machine has slept: a link that gives no sign of life is dead, and the next attempt is due."""
        for link in self._links:
            if link.answers_probes:
                link.poll_heard()
                link.probe()
                self._reactor.callLater(WAKE_TIMEOUT, _check_heard, link)
        if self._timer is not None:
            self._timer.cancel()
            self._backoff.reset()
            self._try()

    def _finish(self) -> None:
        """The connector has stopped, if nothing is left of it."""
        gone = self._gone
        if gone is not None and not self._connections:
            self._gone = None
            gone.callback(None)

    def _try(self) -> None:
        self._timer = None
        self.lease.check()
        if self._stopping:
            return
        self._stats.attempts += 1
        self._log.debug("tunnel {tunnel}: connecting to {server}", tunnel=short_id(self.settings.tunnel), server=self.server)
        self._attempt = attempt = self._endpoint.connect(_BindFactory(self, self._reactor))
        attempt.addCallbacks(self._connected, self._connect_failed)

    def _connected(self, connection: BindHandshake) -> None:
        self._attempt = None
        self._current = connection

    def _connect_failed(self, failure: Failure) -> None:
        self._attempt = None
        if self._stopping or failure.check(CancelledError):
            return
        self._again(f"cannot join: {reason_of(failure)}")

    def _again(self, what: str) -> None:
        """Log what happened, in full once and then ever more rarely, and try again after a while."""
        wait = self._backoff.wait()
        # as long as a former link serves, an attempt that fails costs nobody anything
        level = LogLevel.warn if not self.joined and self._repeats.say(what) else LogLevel.debug
        if level is LogLevel.warn and self._repeats.times > 1:
            what = f"{what.partition('; ')[0]} ({self._repeats.times} times in a row)"
        self._log.emit(
            level,
            "tunnel {tunnel} at {server}: {what}; next attempt in {wait} s",
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
            what=what,
            wait=f"{wait:.1f}",
        )
        self._timer = self._reactor.callLater(wait, self._try)

    @property
    def server(self) -> str:
        """The server's address, for logs."""
        return str(Address(self._address, self.settings.server.port))

    @property
    def link(self) -> Link | None:
        """The link that was joined last, while there is one."""
        links = self._links
        return links[-1] if links else None

    @property
    def joined(self) -> bool:
        """Whether there is a link."""
        return bool(self._links)

    @property
    def _connections(self) -> list[BindHandshake]:
        return [*self._former, *([] if self._current is None else [self._current])]

    @property
    def _links(self) -> list[Link]:
        return [connection.link for connection in self._connections if connection.link is not None]

    # -- called by the joining protocol

    def link_up(self, endpoint: str, connector: UUID | None) -> None:
        """The server has let us in."""
        self._joined_at = self._reactor.seconds()
        self._repeats.forget()
        self.id, self.since = connector, time()
        self._stats.joins += 1
        self._log.debug(
            "tunnel {tunnel}: the server at {server} has let us in as connector {connector}, endpoint {endpoint}",
            tunnel=short_id(self.settings.tunnel),
            server=self.server,
            connector=short_id(connector) if connector is not None else "-",
            endpoint=endpoint or "-",
        )
        self.shares.joined(endpoint if self.settings.bind.host else "")
        if not self._target_follows:
            self._warn_of_idle_targets()
        self._on_joined()

    def _share_told(self, message: Member | Share) -> None:
        self.shares.hear(message)

    def intercepting(self, answer: InterceptAnswer) -> None:
        """Say which requests will come, and how to try it."""
        filters = self.settings.filters
        self._log.info(
            "takes the requests with {filters} to {hosts}; all others, TLS that is passed through and visits go to the other "
            "connectors of the tunnel",
            filters=listed(filters),
            hosts=", ".join(map(plain, answer.hosts)) or "its hosts",
        )
        if answer.warning:
            self._log.warn("{text}", text=plain(answer.warning, None))
        secure = self.settings.transport in ("wss", "tls")
        for link in share_links(self.settings.session, answer.hosts, secure=secure):
            self._log.info("a browser that opens {link} joins the session", link=plain(link, None))
        example = example_request(filters, answer.hosts, secure=secure)
        if example is not None:
            self._log.info("try it: {example}", example=plain(example, None))

    def _warn_of_idle_targets(self) -> None:
        """Say at once what each request would find out. The system takes some milliseconds to tell, in which others are served."""
        local = [target.address for target in self.settings.target.targets if type(target.address) is Address]
        if any(is_local(address.host) for address in local) and IReactorThreads.providedBy(self._reactor):
            asking = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), _idle, local)
            asking.addCallbacks(self._warn_of, lambda failure: self._log.failure("cannot tell what listens", failure=failure))

    def _warn_of(self, idle: list[Address]) -> None:
        for address in idle:
            self._log.warn(
                "nothing listens at the target {target} yet: start the service; until then other connectors of the tunnel "
                "answer, if there are any",
                target=str(address),
            )

    def server_leaves(self, connection: BindHandshake) -> None:
        """The server is about to stop: join elsewhere, and leave it the link for what runs."""
        if self._stopping or connection is not self._current:
            return
        self._current = None
        self._former.append(connection)
        self._backoff.reset()
        self._log.info("the server at {server} is about to stop; joining again, in case there is another one", server=self.server)
        self._timer = self._reactor.callLater(self._backoff.wait(), self._try)

    def connection_lost(self, connection: BindHandshake, reason: str) -> None:
        """A link is lost, or the attempt to have one has failed."""
        if connection in self._former:
            self._former_lost(connection, reason)
            return
        self._current = None
        self._forget_others()
        if connection.link is not None:
            self._stats.losses += 1
            if self._reactor.seconds() - self._joined_at >= STABLE_AFTER:
                self._backoff.reset()
        if self._stopping:
            self._finish()
            return
        self._again(f"cannot join: {reason}" if connection.link is None else f"lost the link: {reason}")

    def _forget_others(self) -> None:
        if not self.joined:
            self.shares.lost()

    def _former_lost(self, connection: BindHandshake, reason: str) -> None:
        """The server has stopped. If no other one was found before, the next one may be there soon."""
        self._former.remove(connection)
        self._forget_others()
        if self._stopping:
            self._finish()
        elif not self.joined:
            self._stats.losses += 1
            if self._timer is not None:
                self._timer.cancel()
                self._backoff.reset()
                self._again(f"lost the link: {reason}")


def _check_heard(link: Link) -> None:
    if not link.poll_heard():
        link.drop(LinkEnd.KEEPALIVE_TIMEOUT, f"nothing received in {WAKE_TIMEOUT:g} s after this machine slept")


class _BindFactory(Factory):
    """Builds the protocol of one attempt."""

    noisy = False

    def __init__(self, connector: ConnectorClient, reactor: IReactorTime) -> None:
        self._connector = connector
        self._reactor = reactor

    def buildProtocol(self, addr: Any) -> BindHandshake:
        return BindHandshake(self._connector, self._reactor)


class BindHandshake(Handshake[Response]):
    """One attempt: asks to BIND, reads the answer, then becomes the link."""

    _request: Request

    def __init__(self, connector: ConnectorClient, reactor: IReactorTime) -> None:
        super().__init__(take_response, seconds=connector.settings.handshake_timeout, reactor=reactor)
        self._connector = connector
        self._settings = connector.settings
        self._reason = ""

    def connectionMade(self) -> None:
        super().connectionMade()
        settings = self._settings
        end_when_stalled(ITunnelTransport(self.transport).tcp_socket(), settings.mux.stall_timeout)
        host = self.transport.getHost()
        self._request = Request(
            command=Command.INTERCEPT if settings.filters else Command.BIND,
            network=Network.UDP if settings.target.udp else Network.TCP,
            credentials=(settings.credentials.user, settings.credentials.password) if settings.credentials else None,
            addresses=(
                RelayAddress(getattr(host, "host", "0.0.0.0"), getattr(host, "port", 0)),
                RelayAddress(settings.bind.host or "0.0.0.0", settings.bind.port),
            ),
            tunnel=TunnelFeature(settings.tunnel, weight=settings.weight),
            metadata=self._wanted(),
        )
        self.transport.write(self._request.encode())

    def _wanted(self) -> Mapping[str, str]:
        """The metadata of the request: which requests we want, if not all, and whether we are the pod."""
        settings = self._settings
        if not settings.filters:
            return AS_POD if settings.role == "pod" else NO_METADATA
        filters = tuple(map(str, settings.filters))
        return InterceptRequest(self._connector.lease.name, filters, settings.keep_caching).metadata()

    def received(self, message: Response) -> None:
        answer = InterceptAnswer.of(message.metadata)
        if message.status is not Status.OK:
            refused = describe_refusal(message.status, self._request)
            self._fail(describe_conflict(answer) if answer is not None else refused)
        elif self._settings.filters and answer is None:
            self._fail(NOT_GRANTED)
        else:
            self._join(message, answer if self._settings.filters else None)

    def malformed(self, reason: str) -> None:
        self._fail(describe_malformed_answer(self._buffer, reason))

    def expired(self) -> None:
        self._fail(describe_silence(self._settings.handshake_timeout))
        self.transport.abortConnection()

    def _join(self, response: Response, answer: InterceptAnswer | None) -> None:
        link = open_link(
            self._settings.mux,
            opens=False,
            reactor=self._reactor,
            on_stream=self._connector.forwarder.accept,
            on_draining=partial(self._connector.server_leaves, self),
            on_lost=self._link_lost,
            peer=self._connector.server,
        )
        self.switch_to_link(link)
        link.ask()
        link.announce(self._connector.instance)
        link.offer_control(self._connector.lease.token)
        endpoint = response.addresses[0].host if response.addresses else ""
        self._connector.link_up(endpoint, response.tunnel.id if response.tunnel else None)
        if answer is not None:
            self._connector.intercepting(answer)

    def drain(self) -> None:
        """Ask the server for no more streams; join no more."""
        if self.link is not None:
            self.link.leave()
        else:
            self.leave()

    def leave(self) -> None:
        """Close cleanly."""
        if self.link is not None:
            self.link.close(LinkEnd.CLOSED, "the client stops")
        else:
            self._fail("the client stops")

    def cut(self) -> None:
        """Close at once."""
        self.transport.abortConnection()

    def _fail(self, reason: str) -> None:
        self.finish()
        self._reason = self._reason or reason
        self.transport.loseConnection()

    def _link_lost(self, link: Link, end: LinkEnd, text: str) -> None:
        self._reason = self._reason or text

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if not self._reason:
            self._reason = CLOSED_EARLY if self.link is None and reason.type is ConnectionDone else reason_of(reason)
            if self.link is None and self._settings.filters:
                self._reason += f"; {MAY_NOT_KNOW}"
        self._connector.connection_lost(self, self._reason)


def _idle(addresses: list[Address]) -> list[Address]:
    """Those at which nothing listens; called in a thread."""
    return [address for address in addresses if nothing_listens(address.host, address.port)]
