"""Watches the requests of a client: what comes through each stream, whoever passes it on.

A client that is not watched has none of this. What is watched is passed on first, and as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time
from typing import Any, Final

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from rtunnel.client.shares import TunnelView
from rtunnel.client.watch_lines import Seen, WatchLines
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.filters import protocol_of
from rtunnel.settings import ConnectorSettings
from rtunnel.wire.control import clean
from rtunnel.wire.http1 import PASS_ALL, HeadLimits, RequestHead, RequestReader, ResponseHead, ResponseReader
from rtunnel.wire.http1_follow import ANSWERED, BEGUN, COMPLETE, LOST, SWITCHED, ExchangeFollower, Followed
from rtunnel.wire.relay import Response

__all__ = ["ConnectorWatch", "StreamWatch", "Watch", "WatchedRequest"]

TICK: Final = 1.0
"""Seconds between two sums."""
LONG: Final = 3.0
"""Seconds after which what goes on is shown."""
MAX_SHOWN: Final = 500
"""Characters of a path or a name that are kept."""

_RESULTS: Final = {
    StreamOutcome.TARGET_REFUSED: "target not reached",
    StreamOutcome.TARGET_LOST: "target broke off",
    StreamOutcome.VISITOR_LOST: "visitor left",
    StreamOutcome.STOPPED: "stopped",
    StreamOutcome.BAD_REQUEST: "bad request",
}
_PAGES: Final = (
    "this client and others share the requests of HTML pages: parts of one page may come from two versions of the service. "
    "--weight 255 takes all requests, --intercept and --session those that you choose; with --sticky at the server each visitor "
    "stays with one"
)


class Watch:
    """Watches a client; owned by its service.

    :param lines: shows what is seen.
    :param reactor: the clock.
    :param wall: the time of day.
    :ivar limits: of heads that are read.
    """

    log = Logger()

    def __init__(self, lines: WatchLines, reactor: Any, wall: Callable[[], float] = time) -> None:
        self.lines = lines
        self.reactor = reactor
        self.wall = wall
        self.limits = HeadLimits(65536, 16384, 128)
        self.going_on: set[WatchedRequest | StreamWatch] = set()
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = reactor
        self._hinted = False

    def start(self) -> None:
        """Begin."""
        self._ticking.start(TICK, now=False)

    def stop(self) -> None:
        """End, with what was counted last."""
        if self._ticking.running:
            self._ticking.stop()
            self.lines.tick()

    def connector(self, settings: ConnectorSettings, view: TunnelView) -> ConnectorWatch:
        """What watches the streams of a connector.

        :param view: what is known of its tunnel.
        """
        return ConnectorWatch(self, settings, view)

    def _tick(self) -> None:
        now = self.reactor.seconds()
        for one in [one for one in self.going_on if now - one.begun >= LONG]:
            self.going_on.discard(one)
            one.show_going_on()
        self.lines.tick()

    def hint_at_pages(self) -> None:
        """A page of HTML was served by one of several: say once what that means."""
        if not self._hinted:
            self._hinted = True
            self.log.warn("{text}", text=_PAGES)


class ConnectorWatch:
    """Watches the streams of a connector.

    :ivar requests: reads the heads of requests.
    :ivar answers: reads the heads of responses.
    """

    def __init__(self, watch: Watch, settings: ConnectorSettings, view: TunnelView) -> None:
        self.watch = watch
        self.requests = RequestReader(watch.limits, PASS_ALL)
        self.answers = ResponseReader(watch.limits)
        self._datagrams = settings.target.udp
        self._view = view

    def stream(self, preface: Response) -> StreamWatch:
        """What watches a stream whose bytes are passed on unread."""
        return StreamWatch(self, preface, datagrams=self._datagrams)

    def request(self, head: RequestHead) -> WatchedRequest:
        """A request has come."""
        return WatchedRequest(self, head)

    @property
    def many_hosts(self) -> bool:
        """Whether a path alone does not say which host is meant."""
        return "," in self._view.hosts or "*" in self._view.hosts

    @property
    def instead(self) -> str:
        """Who would have had a request, in words."""
        instead = self._view.instead()
        return f"else {instead}" if instead else ""

    def page(self) -> None:
        """A page of HTML was served."""
        if self._view.splits:
            self.watch.hint_at_pages()


class WatchedRequest:
    """A request in progress."""

    __slots__ = ("_at", "_connector", "_place", "_status", "_what", "begun")

    def __init__(self, connector: ConnectorWatch, head: RequestHead) -> None:
        watch = connector.watch
        self._connector = connector
        self._at = watch.wall()
        self.begun = watch.reactor.seconds()
        self._what = _text(head.method)
        path, query, _ = head.target.partition(b"?")
        host = head.host if connector.many_hosts else ""
        # a query may hold secrets
        self._place = _text(host.encode() + path + (b"?..." if query else b""))
        self._status = ""
        watch.going_on.add(self)

    def answered(self, head: ResponseHead) -> None:
        """The response has begun."""
        self._status = str(head.status)
        if _is_page(head):
            self._connector.page()

    def complete(self) -> None:
        """The response was passed on."""
        self._show(self._status)

    def failed(self, outcome: StreamOutcome) -> None:
        """It ended in another way."""
        self._show(f"{self._status} {_RESULTS.get(outcome, outcome.value)}".strip())

    def refused(self, status: int) -> None:
        """The client itself has answered it."""
        self._show(str(status))

    def switched(self, head: ResponseHead) -> None:
        """The connection speaks another protocol from here on."""
        self._show(str(head.status), _text(head.upgrade))

    def show_going_on(self) -> None:
        """It takes long: show how far it is."""
        self._show(f"{self._status} going on" if self._status else "no answer yet")

    def _show(self, result: str, more: str = "") -> None:
        watch = self._connector.watch
        watch.going_on.discard(self)
        seconds = watch.reactor.seconds() - self.begun
        more = ", ".join(filter(None, (more, self._connector.instead)))
        watch.lines.add(Seen(self._at, self._what, self._place, result, seconds, more))


class StreamWatch:
    """Watches a stream whose bytes are passed on unread: requests if it is HTTP, else a connection.

    :param preface: of the stream.
    :param datagrams: whether it carries datagrams.
    """

    __slots__ = ("_at", "_connector", "_early", "_follower", "_place", "_request", "_what", "begun")

    def __init__(self, connector: ConnectorWatch, preface: Response, *, datagrams: bool) -> None:
        watch = connector.watch
        self._connector = connector
        self._at = watch.wall()
        self.begun = watch.reactor.seconds()
        self._place = _ways(preface)
        self._early = b""
        self._what = ""
        self._follower: ExchangeFollower | None = None
        self._request: WatchedRequest | None = None
        if datagrams:
            self._is("UDP")

    def near(self, data: bytes) -> None:
        """The visitor's side has sent bytes, which were passed on."""
        if self._follower is not None:
            self._take(self._follower.request_bytes(data))
        elif not self._what:
            self._early += data
            protocol = protocol_of(self._early)
            if protocol == "http":
                self._follower = ExchangeFollower(self._connector.requests, self._connector.answers)
                early, self._early = self._early, b""
                self._take(self._follower.request_bytes(early))
            elif protocol is not None:
                self._is(protocol.upper() or "TCP")

    def far(self, data: bytes) -> None:
        """The target has sent bytes, which were passed on."""
        if self._follower is not None:
            self._take(self._follower.answer_bytes(data))
        elif not self._what:
            # who hears the target first speaks no HTTP
            self._is("TCP")

    def ended(self, outcome: StreamOutcome, up: int, down: int) -> None:
        """The stream has ended.

        :param up: bytes to the target.
        :param down: bytes from it.
        """
        if self._follower is not None:
            self._take(self._follower.ended())
        if self._request is not None:
            self._request.failed(outcome)
        elif self._what or (self._early and self._follower is None):
            result = "ended" if outcome is StreamOutcome.DONE else _RESULTS.get(outcome, outcome.value)
            self._show(result, f"{up:,} bytes in, {down:,} out")

    def given_up(self, outcome: StreamOutcome, unsent: bytes) -> None:
        """The stream has ended before there was a target.

        :param unsent: what had come.
        """
        if unsent:
            self.near(unsent)
        self.ended(outcome, 0, 0)

    def show_going_on(self) -> None:
        """The connection is there for longer."""
        self._show("going on")

    def _is(self, what: str) -> None:
        """It is no HTTP."""
        self._what = what
        self._early = b""
        self._connector.watch.going_on.add(self)

    def _show(self, result: str, more: str = "") -> None:
        watch = self._connector.watch
        watch.going_on.discard(self)
        seconds = watch.reactor.seconds() - self.begun
        watch.lines.add(Seen(self._at, self._what or "TCP", self._place, result, seconds, more))

    def _take(self, events: list[Followed]) -> None:
        for kind, head in events:
            if kind == BEGUN:
                self._request = self._connector.request(head)
            elif kind == LOST:
                self._lose()
            elif self._request is not None:
                if kind == ANSWERED:
                    self._request.answered(head)
                    continue
                if kind == SWITCHED:
                    self._request.switched(head)
                elif kind == COMPLETE:
                    self._request.complete()
                self._request = None

    def _lose(self) -> None:
        """It cannot be followed any more: it is a connection from here on."""
        if self._request is not None:
            self._connector.watch.going_on.discard(self._request)
        self._request = self._follower = None
        self._is("HTTP")


def _text(data: bytes) -> str:
    """Bytes of somebody else, made fit to be shown."""
    return clean(data.decode("utf-8", "backslashreplace"), MAX_SHOWN)


def _ways(preface: Response) -> str:
    """Who is connected with what."""
    names = [f"{address.host}:{address.port}" if address.port else address.host for address in preface.addresses]
    return clean(" -> ".join(names[:1] + names[-1:] if len(names) > 1 else names) or "?", MAX_SHOWN)


def _is_page(head: ResponseHead) -> bool:
    return any(line.lower().startswith(b"content-type:") and b"text/html" in line.lower() for line in head.lines.splitlines())
