"""Streams of datagrams on their way to a target of UDP that the test plays, over a real link."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from rtunnel.outcomes import DatagramLoss, StreamOutcome
from rtunnel.transport.datagrams import Association
from rtunnel.wire.datagram import DatagramReader, frame_datagram
from rtunnel.wire.smux import FINISHED, STOPPED
from tests.client.harness import PREFACE, ForwarderCase, PlayedEndpoint


class DatagramTarget(PlayedEndpoint):
    """A target of UDP: what was sent to it, and an association through which it answers."""

    clock: Clock
    stats: Any
    association: Association

    def associate(self) -> None:
        """Accept the connect that has waited longest."""
        factory, deferred = self.waiting.pop(0)
        self.sent: list[bytes] = []
        address = IPv4Address("UDP", "127.0.0.1", 53)
        self.association = Association(
            self.sent.append,
            peer=address,
            host=address,
            idle=60,
            reactor=self.clock,
            on_drop=self.stats.drop,
            on_end=lambda: None,
        )
        protocol = self.association.protocol = factory.buildProtocol(address)
        protocol.makeConnection(self.association)
        deferred.callback(protocol)


class DatagramTargetTests(ForwarderCase):
    targets = "udp://localhost:53"
    target_class = DatagramTarget
    target: DatagramTarget

    def setUp(self) -> None:
        super().setUp()
        self.target.clock, self.target.stats = self.clock, self.stats

    def begin(self, early: bytes = b"") -> None:
        self.send(PREFACE + early)
        self.target.associate()
        self.turn()

    def answer(self, datagram: bytes) -> None:
        self.target.association.received(datagram)
        self.turn()

    def ended(self, outcome: StreamOutcome) -> None:
        self.turn()
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual((len(self.forwarder.open), self.server.streams), (0, 0))
        self.forwarder.stop()
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])

    def test_both_ways(self) -> None:
        """Datagrams, cut anywhere on the stream, are whole at the target; its own are framed."""
        self.begin(frame_datagram(b"one") + frame_datagram(b"two")[:3])
        self.send(frame_datagram(b"two")[3:] + frame_datagram(b""))
        self.assertEqual(self.target.sent, [b"one", b"two", b""])
        self.answer(b"eins")
        self.answer(b"zwei")
        self.assertEqual(DatagramReader().receive(self.received), [b"eins", b"zwei"])

    def test_visitor_ends(self) -> None:
        """The association ends with its stream; both are done."""
        self.begin(frame_datagram(b"one"))
        self.server.finish(self.stream)
        self.turn()
        self.assertTrue(self.target.association.disconnecting)
        self.assertIn(FINISHED, self.signals)
        self.ended(StreamOutcome.DONE)

    def test_visitor_is_gone(self) -> None:
        self.begin(frame_datagram(b"one"))
        self.server.abort(self.stream)
        self.turn()
        self.assertTrue(self.target.association.disconnecting)
        self.turn()
        self.assertEqual(sum(self.outcomes().values()), 1)
        self.assertEqual((len(self.forwarder.open), self.server.streams), (0, 0))

    def test_idle(self) -> None:
        """The stream is ended in good order, and with it the visit."""
        self.begin(frame_datagram(b"one"))
        self.clock.pump([10] * 6)
        self.turn()
        self.assertIn(FINISHED, self.signals)
        self.assertNotIn(STOPPED, self.signals)
        self.server.finish(self.stream)
        self.ended(StreamOutcome.DONE)

    def test_no_address(self) -> None:
        """A name without an address: the stream is closed without a byte, so that the server may ask another connector."""
        self.send(PREFACE + frame_datagram(b"one"))
        self.target.refuse()
        self.turn()
        self.assertEqual(self.received, b"")
        self.ended(StreamOutcome.TARGET_REFUSED)

    def test_server_does_not_read(self) -> None:
        """What the server does not take waits, and then the oldest are dropped and counted; what is passed on is whole."""
        self.end.consume = False
        self.begin()
        for number in range(200):
            self.answer(bytes([number]) * 8000)
        dropped = self.stats.datagrams_dropped[DatagramLoss.QUEUE_FULL]
        self.assertGreater(dropped, 50)
        self.assertLess(len(self.received), 600_000)
        self.end.consume = True
        self.server.consumed(self.stream, len(self.received))
        self.turn()
        datagrams = DatagramReader().receive(self.received)
        self.assertEqual({len(datagram) for datagram in datagrams}, {8000})
        numbers = [datagram[0] for datagram in datagrams]
        self.assertEqual((numbers, numbers[-1], len(numbers)), (sorted(numbers), 199, 200 - dropped))

    def test_activity(self) -> None:
        """A stop does not wait for an answer that may never come."""
        self.begin(frame_datagram(b"one"))
        self.assertTrue(self.forwarder.poll_activity())
        self.assertFalse(self.forwarder.poll_activity())
