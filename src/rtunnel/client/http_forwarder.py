"""Streams that the client reads: to choose a target by what a visitor speaks or asks for, or to change requests on their way.

A client whose targets have no filter of protocol or path, and which changes no header, comes nowhere near this module.
"""

from __future__ import annotations

from typing import Any

from rtunnel.client.dialing import Dialer
from rtunnel.client.http_stream import HttpStream, HttpStreamSettings
from rtunnel.client.targets import ForwardedStream, Forwarder
from rtunnel.outcomes import StreamOutcome
from rtunnel.routing.filters import protocol_of
from rtunnel.settings import ForwardSettings, TargetList
from rtunnel.tunnel.stream import TunnelStream
from rtunnel.wire.http1 import PASS_ALL, HeadLimits, LocalRewrite, RequestReader, RequestRewrite, ResponseReader
from rtunnel.wire.relay import Response

__all__ = ["HttpForwarder", "needs_http"]


def needs_http(targets: TargetList, settings: ForwardSettings) -> bool:
    """Whether streams have to be read."""
    return settings.rewrites or any(target.filter.path or target.filter.protocol for target in targets.targets)


class HttpForwarder(Forwarder):
    """Forwards each stream to a target that is for what comes on it.

    What a stream carries is told by its first bytes. HTTP is followed request by request where the path of a request matters or
    where requests are changed, for a server sends several through one stream; anything else is passed on as it is.
    """

    def __init__(self, *, targets: TargetList, settings: ForwardSettings, **more: Any) -> None:
        super().__init__(targets=targets, settings=settings, **more)
        self.follows = settings.rewrites or any(target.filter.path for target in targets.targets)
        """Whether HTTP is followed."""
        limits = HeadLimits(settings.head_bytes, settings.line_bytes, settings.header_count)
        self.http = HttpStreamSettings(
            requests=RequestReader(limits, PASS_ALL),
            answers=ResponseReader(limits),
            rewrite=RequestRewrite(settings.set_host, settings.set_headers, settings.remove_headers),
            local=self._local() if settings.as_local else {},
        )

    def _local(self) -> dict[Dialer, LocalRewrite]:
        return {dialer: LocalRewrite(self.settings.set_host or dialer.host) for _, dialer in self._dialers}

    def forwarded(self, stream: TunnelStream) -> ForwardedStream:
        """The protocol of a stream, which is read."""
        return SniffingStream(self, stream)


class SniffingStream(ForwardedStream):
    """One stream: its preface is read, then its first bytes until they tell a protocol; and on to a target."""

    __slots__ = ("_timer",)

    _forwarder: HttpForwarder

    def __init__(self, forwarder: HttpForwarder, stream: TunnelStream) -> None:
        super().__init__(forwarder, stream)
        self._timer: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._preface is None:
            super().dataReceived(data)
        else:
            self._buffer += data
            self._look()

    def _begin(self, preface: Response, early: bytes) -> None:
        self._buffer = early
        # who waits for the other side to speak first is let through when the time is over
        self._timer = self._forwarder.reactor.callLater(self._forwarder.settings.sniff_timeout, self._tell, "")
        if early:
            self._look()

    def _look(self) -> None:
        protocol = protocol_of(self._buffer)
        if protocol is not None:
            self._tell(protocol)

    def _tell(self, protocol: str) -> None:
        """It is known what the visitor speaks, or too late to wait for it."""
        self._stop_timer()
        forwarder, preface = self._forwarder, self._preface
        early, self._buffer = self._buffer, b""
        if preface is None:
            return
        if protocol == "http" and forwarder.follows:
            forwarder.open.discard(self)
            followed = HttpStream(forwarder, forwarder.http, self._stream, preface)
            followed.dataReceived(early)
            if self._read_ended:
                followed.readConnectionLost()
            return
        self._forward(forwarder.choose(preface, protocol), early)

    def readConnectionLost(self) -> None:
        """The visitor may have said all it had to say before that told what it speaks."""
        super().readConnectionLost()
        if self._timer is not None and self._timer.active():
            self._tell("")

    def _give_up(self, outcome: StreamOutcome) -> None:
        self._stop_timer()
        super()._give_up(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
