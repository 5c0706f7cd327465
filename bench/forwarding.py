"""Exchanges through the client's code alone: no sockets, no server, no target. Timed and counted beside those of the server."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from bench.exchange import ANSWER, REQUEST, VISITORS, MemoryTransport, Turns
from rtunnel.client.targets import Forwarder
from rtunnel.metrics.stats import ClientStats
from rtunnel.settings import Address, ForwardSettings, Target, TargetList
from rtunnel.tunnel.link import Keepalive, Link
from rtunnel.wire.relay import RelayAddress, stream_preface
from rtunnel.wire.smux import DATA, Session

_PREFACE = stream_preface(RelayAddress("127.0.0.1", 1), RelayAddress("bench.local", 80))


@implementer(IStreamClientEndpoint)
class _Targets:
    """An endpoint whose connections are in memory.

    :ivar connections: those that were made.
    """

    def __init__(self) -> None:
        self.connections: list[MemoryTransport] = []

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        protocol, transport = protocolFactory.buildProtocol(None), MemoryTransport()
        transport.protocol = protocol
        protocol.makeConnection(transport)
        self.connections.append(transport)
        return succeed(protocol)


class Forwardings:
    """:data:`~bench.exchange.VISITORS` kept-alive streams of a client, whose server and target are played here."""

    def __init__(self) -> None:
        turns: Any = Turns()
        self._turns = turns
        self._targets = _Targets()
        forwarder = Forwarder(
            targets=TargetList((Target(Address("127.0.0.1", 80)),)),
            settings=ForwardSettings(),
            timeout=10.0,
            stats=ClientStats(),
            reactor=turns,
            endpoint_for=lambda _: self._targets,
        )
        self._link = Link(
            Session(opens=False),
            reactor=turns,
            keepalive=Keepalive(0),
            on_stream=forwarder.accept,
            on_lost=lambda *_: None,
            peer="bench",
        )
        self._below = MemoryTransport()
        self._link.makeConnection(self._below)
        self._far = Session(opens=True)
        self._streams = [self._far.open() for _ in range(VISITORS)]
        for stream in self._streams:
            self._far.send(stream, _PREFACE)
        self._link.dataReceived(self._far.take_output())
        self._number = 0

    def turn(self) -> float:
        """One exchange of each stream.

        :returns: the seconds that the client's code took.
        """
        for stream in self._streams:
            self._number += 1
            self._far.send(stream, REQUEST % {b"number": self._number})
        requests = self._far.take_output()
        answers = [ANSWER % number for number in range(VISITORS)]
        start = perf_counter()
        self._link.dataReceived(requests)
        self._turns.end()
        for transport, answer in zip(self._targets.connections, answers, strict=True):
            transport.protocol.dataReceived(answer)
        self._turns.end()
        taken = perf_counter() - start
        answered = 0
        for kind, stream, data in self._far.receive(self._below.take()):
            if kind == DATA:
                answered += data.endswith(b"hello, visitor\n")
                self._far.consumed(stream, len(data))
        credit = self._far.take_output()
        if credit:
            self._link.dataReceived(credit)
        for transport in self._targets.connections:
            if not transport.take().startswith(b"GET /small/"):
                raise RuntimeError("a target got no request")
        if answered != VISITORS:
            raise RuntimeError("a visitor got no answer")
        return taken
