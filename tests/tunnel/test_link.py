"""A link: events to streams, one flush per turn, its life and its end."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from rtunnel.outcomes import LinkEnd
from rtunnel.tunnel.link import Keepalive, Link, LinkClosed
from rtunnel.tunnel.stream import FLUSH_SIZE, TunnelStream
from rtunnel.wire.smux import Session
from tests.support.transports import PingingTransport
from tests.tunnel.common import QUIET, CountedTransport, HalfCloser, Links, Recorder, Source


def alone(*, opens: bool = True, keepalive: Keepalive = QUIET, **options: Any) -> tuple[Link, CountedTransport, Clock, list[str]]:
    """Make a link whose peer is a transport that keeps what is written."""
    clock = Clock()
    lost: list[str] = []
    link = Link(
        Session(opens=opens, **options), reactor=clock, keepalive=keepalive, on_lost=lambda link, end, reason: lost.append(reason)
    )
    transport = CountedTransport()
    link.makeConnection(transport)
    clock.advance(0)
    return link, transport, clock, lost


class FlushTests(SynchronousTestCase):
    """What a turn wrote leaves together."""

    def test_interfaces(self) -> None:
        link = alone()[0]
        verifyObject(IPushProducer, link)
        verifyObject(IHalfCloseableProtocol, link)

    def test_one_write_for_a_turn(self) -> None:
        link, transport, clock, _ = alone()
        for _ in range(20):
            stream = link.open_stream(HalfCloser())
            stream.write(b"head")
            stream.writeSequence([b"bo", b"dy"])
            stream.loseWriteConnection()
        self.assertEqual((transport.writes, len(clock.getDelayedCalls())), ([], 1))
        clock.advance(0)
        self.assertEqual(len(transport.writes), 1)
        self.assertEqual(len(transport.writes[0]), 20 * (8 + 12 + 12 + 8))
        clock.advance(0)
        self.assertEqual(len(transport.writes), 1)

    def test_bytes_are_counted(self) -> None:
        """What one end sent is what the other end received."""
        links = Links()
        stream, _, far, _ = links.joined()
        stream.write(b"x" * 5000)
        far.write(b"y" * 300)
        links.settle()
        self.assertGreater(links.server.bytes_out, 5000)
        self.assertGreater(links.client.bytes_out, 300)
        self.assertEqual((links.server.bytes_out, links.client.bytes_out), (links.client.bytes_in, links.server.bytes_in))

    def test_each_turn_by_itself(self) -> None:
        link, transport, clock, _ = alone()
        stream = link.open_stream(HalfCloser())
        for text in (b"one", b"two"):
            stream.write(text)
            clock.advance(0)
        self.assertEqual([write[-3:] for write in transport.writes], [b"one", b"two"])

    def test_open_without_asking(self) -> None:
        links = Links()
        stream, _ = links.open()
        stream.write(b"first bytes")
        links.turn()
        links.pipe.pump()
        self.assertEqual(links.protocols[stream.id].received, b"first bytes")
        self.assertEqual(links.pipe.client.waiting, 0, "the other end had nothing to say")

    def test_much_does_not_wait_for_the_end_of_the_turn(self) -> None:
        link, transport, clock, _ = alone()
        streams = [link.open_stream(HalfCloser()) for _ in range(6)]
        for stream in streams:
            stream.write(bytes(FLUSH_SIZE // 4))
        self.assertEqual([len(write) // FLUSH_SIZE for write in transport.writes], [1])
        clock.advance(0)
        self.assertLess(sum(map(len, transport.writes)), 6 * (FLUSH_SIZE // 4) + 2000)

    def test_replies_leave_with_the_turn_that_asked_for_them(self) -> None:
        links = Links()
        links.open()
        stream, _ = links.open()
        links.settle()
        for accepted in links.accepted:
            accepted.protocol.on_data = accepted.write
        for stream_ in list(links.server.streams.values()):
            stream_.write(b"ping")
        links.settle()
        self.assertEqual([bytes(each.protocol.received) for each in links.server.streams.values()], [b"ping", b"ping"])
        self.assertEqual(stream.id, 5)


class DispatchTests(SynchronousTestCase):
    """Events reach their stream, and errors go no further."""

    def test_bytes_cut_anywhere(self) -> None:
        links = Links()
        streams = [links.open()[0] for _ in range(3)]
        for stream in streams:
            stream.write(b"for %d" % stream.id)
            stream.loseWriteConnection()
        links.turn()
        links.pipe.pump(chunk=1)
        for stream in streams:
            self.assertEqual(links.protocols[stream.id].received, b"for %d" % stream.id)
            self.assertEqual(links.protocols[stream.id].calls[-1], "read lost")

    def test_an_error_ends_its_stream_only(self) -> None:
        links = Links()
        _, faulty, _, taken = links.joined()
        stream, protocol, other, _ = links.joined()

        def fault(data: bytes) -> None:
            raise ZeroDivisionError

        taken.on_data = fault
        faulty.transport.write(b"x")
        faulty.transport.write(b"more")
        stream.write(b"y")
        links.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(taken.calls, ["data", "lost"])
        self.assertEqual(faulty.calls, ["write lost", "read lost", "lost"], "given up: both directions")
        self.assertEqual(other.protocol.received, b"y")
        other.write(b"still here")
        links.settle()
        self.assertEqual(protocol.received, b"still here")
        self.assertEqual((len(faulty.lost), len(taken.lost)), (1, 1))
        self.assertEqual((links.lost["server"], links.lost["client"]), ([], []))

    def test_an_error_in_any_call_ends_its_stream_only(self) -> None:
        class Faulty(HalfCloser):
            def readConnectionLost(self) -> None:
                raise ZeroDivisionError

            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                raise ZeroDivisionError

        links = Links(kind=Faulty)
        stream, protocol = links.open(HalfCloser)
        links.settle()
        taken: Any = links.accepted[0].protocol
        stream.loseWriteConnection()
        links.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual((len(taken.lost), len(protocol.lost)), (1, 1))
        self.assertEqual((links.server.streams, links.client.streams), ({}, {}))
        self.assertTrue(links.server.usable and links.client.usable)

    def test_an_error_while_a_stream_is_taken(self) -> None:
        def fault(stream: TunnelStream) -> None:
            raise ZeroDivisionError

        links = Links(on_stream=fault)
        stream, protocol = links.open()
        stream.write(b"x")
        links.settle()
        stream.loseConnection()
        links.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(protocol.lost), 1)
        self.assertEqual((links.server.session.streams, links.client.session.streams), (0, 0))

    def test_a_stream_that_nobody_wants(self) -> None:
        """Only a server opens streams: a client that does ends its link, so that a flood of them costs one frame."""
        links = Links()
        opened = links.client.open_stream(protocol := HalfCloser())
        opened.write(b"x")
        links.settle()
        self.assertEqual(protocol.calls, ["lost"])
        self.assertTrue(opened.ended)
        self.assertEqual((links.server.streams, links.server.usable), ({}, False))

    def test_leaving(self) -> None:
        links = Links()
        stream, _, taken, _ = links.joined()
        links.client.leave()
        links.settle()
        self.assertEqual(links.left, ["client"])
        stream.write(b"under way")
        links.settle()
        self.assertEqual(taken.protocol.received, b"under way")
        self.assertTrue(links.server.usable)

    def test_leaving_with_nobody_to_tell(self) -> None:
        links = Links()
        links.server.leave()
        links.settle()
        self.assertTrue(links.client.usable)


class EndTests(SynchronousTestCase):
    """How links end: once, and every stream with them."""

    def assertEnded(self, links: Links, *protocols: Recorder) -> None:
        for protocol in protocols:
            self.assertEqual([failure.type for failure in protocol.lost], [ConnectionLost])
        for link in (links.server, links.client):
            self.assertEqual((link.streams, link._waiting, link.usable), ({}, set(), False))
            self.assertRaises(LinkClosed, link.open_stream, HalfCloser())
        self.assertEqual((len(links.lost["server"]), len(links.lost["client"])), (1, 1))
        self.assertEqual(links.clock.getDelayedCalls(), [])

    def test_lost(self) -> None:
        links = Links()
        ours = links.joined()
        more = links.joined()
        links.pipe.break_link()
        links.settle()
        self.assertEnded(links, ours[1], ours[3], more[1], more[3])
        self.assertIn("broken", links.lost["server"][0])

    def test_lost_with_something_waiting_everywhere(self) -> None:
        links = Links(high_water=1000)
        sources, protocols = [], []
        for _ in range(3):
            stream, protocol, taken, other = links.joined()
            taken.pauseProducing()
            sources.append(Source(stream, bytes(1 << 20)))
            protocols += [protocol, other]
        links.settle(*sources)
        links.pipe.server.pauseProducing()
        links.pipe.client.pauseProducing()
        for _ in range(100):
            for source in sources:
                source.push()
        links.pipe.break_link()
        links.settle()
        self.assertEnded(links, *protocols)
        for source in sources:
            self.assertEqual(source.calls[-1], "stop")
            self.assertEqual(source.calls.count("stop"), 1)

    def test_streams_that_end_with_the_link_are_told_once(self) -> None:
        links = Links()
        ours = links.joined()
        ours[0].loseConnection()
        links.pipe.break_link()
        links.settle()
        self.assertEqual([failure.type for failure in ours[1].lost], [ConnectionDone])
        self.assertEqual([failure.type for failure in ours[3].lost], [ConnectionLost])

    def test_told_before_the_owner_of_the_link(self) -> None:
        links = Links()
        ours = links.joined()
        seen: list[int] = []
        links.server._on_lost = lambda link, end, reason: seen.append(len(ours[1].lost))
        links.pipe.break_link()
        self.assertEqual(seen, [1])

    def test_a_stream_whose_end_ends_another_one(self) -> None:
        links = Links()
        first, second = links.joined(), links.joined()

        class Killer(Recorder):
            def connectionLost(self, reason: Any = None) -> None:
                super().connectionLost(reason)
                second[0].abortConnection()

        first[0].protocol = killer = Killer()
        links.pipe.break_link()
        self.assertEqual((len(killer.lost), len(second[1].lost)), (1, 1))

    def test_an_error_at_the_end_of_a_stream_does_not_spare_the_others(self) -> None:
        links = Links()

        class Faulty(Recorder):
            def connectionLost(self, reason: Any = None) -> None:
                raise ZeroDivisionError

        for _ in range(3):
            links.joined(Faulty)
        ours = links.joined()
        source = Source(ours[0], b"")
        source.stopProducing = source.push = fault  # type: ignore[method-assign, assignment]
        links.pipe.break_link()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 4)
        self.assertEqual((len(ours[1].lost), len(links.lost["server"])), (1, 1))

    def test_close(self) -> None:
        links = Links()
        ours = links.joined()
        ours[0].write(b"last words")
        links.server.close(LinkEnd.SERVER_STOPPED, "time to go")
        links.server.close(LinkEnd.CLOSED, "too late")
        self.assertFalse(links.server.usable)
        links.settle()
        self.assertEqual(ours[3].received, b"last words")
        self.assertEqual(
            links.lost, {"server": ["server stopped: time to go"], "client": ["closed: the peer closed the connection"]}
        )
        self.assertEnded(links, ours[1], ours[3])

    def test_close_while_the_transport_is_behind(self) -> None:
        links = Links(high_water=1000)
        ours = links.joined()
        links.pipe.client.pauseProducing()
        source = Source(ours[0], bytes(200_000))
        links.settle(source)
        self.assertTrue(links.server.congested)
        links.server.close(LinkEnd.SERVER_STOPPED, "time to go")
        ours[0].write(b"too late")
        links.settle(source)
        self.assertEqual(links.lost["server"], [])
        links.pipe.client.resumeProducing()
        links.settle(source)
        self.assertEnded(links, ours[1], ours[3])
        self.assertNotIn(b"too late", ours[3].received)

    def test_drop(self) -> None:
        links = Links()
        ours = links.joined()
        ours[0].write(b"never sent")
        links.server.drop(LinkEnd.PROTOCOL_ERROR, "enough")
        links.server.drop(LinkEnd.CLOSED, "too late")
        links.settle()
        self.assertEqual(ours[3].received, b"")
        self.assertEqual(links.lost["server"], ["protocol error: enough"])
        self.assertEnded(links, ours[1], ours[3])
        links.server.drop(LinkEnd.CLOSED)
        links.server.close(LinkEnd.CLOSED)
        links.server.connectionLost()
        self.assertEqual(links.lost["server"], ["protocol error: enough"])

    def test_protocol_error(self) -> None:
        links = Links()
        ours = links.joined()
        links.pipe.client.write(b"\2\7\0\0\3\0\0\0")
        links.settle()
        self.assertEqual(links.lost["server"], ["protocol error: unknown command 7"])
        self.assertEnded(links, ours[1], ours[3])

    def test_nothing_is_heard_after_a_protocol_error(self) -> None:
        links = Links()
        links.client.dataReceived(b"\2\7\0\0\3\0\0\0")
        links.client.dataReceived(b"\2\0\0\0\3\0\0\0")
        self.assertEqual(links.accepted, [])

    def test_ids_run_out(self) -> None:
        links = Links()
        ours = links.joined()
        links.server.session._next_id = (1 << 32) - 1
        self.assertRaises(LinkClosed, links.server.open_stream, HalfCloser())
        links.settle()
        self.assertEnded(links, ours[1], ours[3])

    def test_half_close_of_the_connection_ends_both(self) -> None:
        links = Links()
        ours = links.joined()
        links.pipe.client.loseWriteConnection()
        links.settle()
        self.assertEqual(links.lost["server"], ["closed: the peer closed the connection"])
        self.assertEnded(links, ours[1], ours[3])


def fault() -> bool:
    raise ZeroDivisionError


class KeepaliveTests(SynchronousTestCase):
    """Signs of life."""

    NOP = bytes.fromhex("0203000000000000")

    def test_sent(self) -> None:
        _, transport, clock, _ = alone(keepalive=Keepalive(10, 30))
        clock.advance(9.9)
        self.assertEqual(transport.writes, [])
        clock.advance(0.1)
        self.assertEqual(transport.writes, [self.NOP])

    def pinging(self, keepalive: Keepalive) -> tuple[Link, PingingTransport, Clock]:
        """A link over a transport that has pings."""
        clock, transport = Clock(), PingingTransport()
        link = Link(Session(opens=True), reactor=clock, keepalive=keepalive, on_lost=lambda link, end, reason: None)
        link.makeConnection(transport)
        return link, transport, clock

    def test_websocket_ping_where_there_is_one(self) -> None:
        _, transport, clock = self.pinging(Keepalive(10, 30))
        self.assertEqual(transport.pings, 1)
        clock.advance(10)
        self.assertEqual(transport.pings, 2)

    def test_no_ping_without_keepalive(self) -> None:
        self.assertEqual(self.pinging(QUIET)[1].pings, 0)

    def test_round_trip(self) -> None:
        """The time from a ping to its pong; an unsolicited pong says nothing, and a late one belongs to the first ping."""
        link, transport, clock = self.pinging(Keepalive(10, 60))
        self.assertIsNone(link.round_trip)
        clock.advance(0.25)
        transport.pong()
        self.assertEqual(link.round_trip, 0.25)
        clock.advance(1)
        transport.pong()
        self.assertEqual(link.round_trip, 0.25)
        clock.advance(8.75)
        clock.advance(10)
        transport.pong()
        self.assertEqual(link.round_trip, 10)

    def test_no_round_trip_while_paused(self) -> None:
        """A pong that cannot be read yet would be timed wrongly."""
        link, transport, clock = self.pinging(Keepalive(10, 60))
        transport.pong()
        transport.pauseProducing()
        clock.advance(10)
        clock.advance(5)
        transport.pong()
        self.assertEqual((link.round_trip, transport.pings), (0, 2))

    def test_pongs_are_signs_of_life(self) -> None:
        _, transport, clock = self.pinging(Keepalive(10, 30))
        for _ in range(6):
            clock.advance(10)
            transport.pong()
        self.assertFalse(transport.aborted)

    def test_slept_for_an_hour(self) -> None:
        """The time in which nobody could listen does not count: the peer gets the whole timeout from then on."""
        _, transport, clock = self.pinging(Keepalive(10, 30))
        transport.pong()
        clock.advance(3600)
        self.assertFalse(transport.aborted)
        clock.advance(10)
        self.assertFalse(transport.aborted)
        for _ in range(2):
            clock.advance(10)
        self.assertTrue(transport.aborted)

    def test_dead_peer(self) -> None:
        links = Links(keepalive=Keepalive(10, 30))
        ours = links.joined()
        links.pipe.silent = True
        for _ in range(3):
            links.clock.advance(10)
            links.pipe.pump()
        self.assertEqual(links.lost["server"], [])
        links.clock.advance(10)
        links.pipe.pump()
        self.assertEqual(links.lost["server"], ["keepalive timeout: nothing received for 30 s"])
        self.assertEqual(len(ours[1].lost), 1)
        self.assertEqual(links.clock.getDelayedCalls(), [])

    def test_none_after_the_end(self) -> None:
        links = Links(keepalive=Keepalive(10, 30))
        links.pipe.break_link()
        links.settle()
        self.assertEqual(links.clock.getDelayedCalls(), [])

    def test_any_byte_is_a_sign_of_life(self) -> None:
        links = Links(keepalive=Keepalive(10, 30))
        for _ in range(20):
            links.clock.advance(10)
            links.settle()
        self.assertEqual(links.lost, {"server": [], "client": []})

    def test_a_pong_is_a_sign_of_life(self) -> None:
        link, transport, clock, _ = alone(keepalive=Keepalive(10, 30))
        for _ in range(20):
            clock.advance(10)
            link.pong_received()
        self.assertFalse(transport.aborted)
        clock.pump([10] * 4)
        self.assertTrue(transport.aborted)

    def test_off(self) -> None:
        _, transport, clock, _ = alone(keepalive=QUIET)
        clock.pump([10] * 10)
        self.assertEqual((transport.writes, clock.getDelayedCalls()), ([], []))

    def test_a_link_that_does_not_read_blames_nobody(self) -> None:
        links = Links(keepalive=Keepalive(10, 30), version=1, receive_buffer=1000)
        stream, _, taken, _ = links.joined()
        taken.pauseProducing()
        stream.write(bytes(5000))
        links.settle()
        self.assertFalse(links.pipe.client.reading)
        for _ in range(10):
            links.clock.advance(10)
            links.settle()
        self.assertEqual(links.lost, {"server": [], "client": []})


class Version1Tests(SynchronousTestCase):
    """Without windows, the connection is read no further than the consumers are."""

    def test_congestion_pauses_reading(self) -> None:
        links = Links(version=1, receive_buffer=100_000)
        slow, _, taken, _ = links.joined()
        other, _, lively, _ = links.joined()
        taken.pauseProducing()
        source = Source(slow, bytes(1 << 20))
        links.settle(source)
        self.assertFalse(links.pipe.client.reading)
        self.assertGreater(len(source.rest), 0, "the slow transport pauses the producer")
        other.write(b"waits behind it")
        links.settle(source)
        self.assertEqual(lively.protocol.received, b"")
        taken.resumeProducing()
        links.settle(source)
        self.assertEqual((len(taken.protocol.received), source.rest), (1 << 20, b""))
        self.assertEqual(lively.protocol.received, b"waits behind it")
        self.assertTrue(links.pipe.client.reading)

    def test_a_stream_that_was_closed_does_not_congest(self) -> None:
        for give_up in (TunnelStream.loseConnection, TunnelStream.abortConnection):
            links = Links(version=1, receive_buffer=10_000)
            slow, protocol, taken, _ = links.joined()
            other, _, lively, _ = links.joined()
            taken.pauseProducing()
            source = Source(slow, bytes(500_000))
            links.settle(source)
            self.assertFalse(links.pipe.client.reading)
            give_up(taken)
            links.settle(source)
            self.assertEqual(source.rest, b"", "there is no way to stop it in version 1")
            other.write(b"goes on")
            links.settle()
            self.assertEqual(lively.protocol.received, b"goes on")
            self.assertEqual(protocol.calls, ["read lost"])
