"""The pipe itself: what every test that uses it takes for granted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IHalfCloseableProtocol, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.support.pipe import HIGH_WATER, READ_SIZE, Pipe, PipeTransport, connect


class Recorder(Protocol):
    """Writes down every call; ``on_data`` is called with the bytes, after they were written down."""

    transport: PipeTransport

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.inside = False
        self.on_data: Callable[[bytes], object] = lambda data: None

    @property
    def received(self) -> bytes:
        return b"".join(call for call in self.calls if isinstance(call, bytes))

    def connectionMade(self) -> None:
        self.calls.append("made")

    def dataReceived(self, data: bytes) -> None:
        assert not self.inside, "called from inside a call"
        self.inside = True
        self.calls.append(data)
        self.on_data(data)
        self.inside = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert not self.inside, "called from inside a call"
        self.calls.append(reason.type)


@implementer(IHalfCloseableProtocol)
class HalfCloser(Recorder):
    """The same with half-close."""

    def readConnectionLost(self) -> None:
        self.calls.append("read lost")

    def writeConnectionLost(self) -> None:
        self.calls.append("write lost")


@implementer(IPushProducer)
class Producer:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_resume: Callable[[], object] = lambda: None

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")
        self.on_resume()

    def stopProducing(self) -> None:
        self.calls.append("stop")


class PipeCase(SynchronousTestCase):
    """Two connected recorders."""

    kind: type[Recorder] = Recorder

    def setUp(self) -> None:
        self.client, self.server = self.kind(), self.kind()
        self.pipe: Pipe = connect(self.client, self.server)


class BytesTests(PipeCase):
    """Bytes, both ways, when pumped and not before."""

    def test_interfaces(self) -> None:
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.pipe.client)

    def test_nothing_moves_by_itself(self) -> None:
        self.client.transport.write(b"ask")
        self.assertEqual(self.server.calls, ["made"])
        self.assertEqual(self.pipe.client.waiting, 3)
        self.assertEqual(self.pipe.pump(), 3)
        self.assertEqual(self.server.calls, ["made", b"ask"])
        self.assertEqual(self.pipe.client.waiting, 0)
        self.assertEqual(self.pipe.pump(), 0)

    def test_a_conversation(self) -> None:
        self.server.on_data = lambda data: self.server.transport.write(data.upper())
        self.client.on_data = lambda data: self.client.transport.write(b"again" if len(self.client.calls) < 5 else b"")
        self.client.transport.writeSequence([b"o", b"nce"])
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made", b"ONCE", b"AGAIN", b"AGAIN", b"AGAIN"])

    def test_pieces(self) -> None:
        self.client.transport.write(b"abc")
        self.pipe.pump(chunk=1)
        self.assertEqual(self.server.calls, ["made", b"a", b"b", b"c"])
        self.client.transport.write(b"d" * (READ_SIZE + 1))
        self.pipe.pump()
        self.assertEqual([len(call) for call in self.server.calls[4:]], [READ_SIZE, 1])

    def test_some_bytes(self) -> None:
        self.client.transport.write(b"abcdef")
        self.assertEqual(self.pipe.pump(max_bytes=4, chunk=3), 4)
        self.assertEqual(self.server.calls, ["made", b"abc", b"d"])
        self.assertEqual(self.pipe.pump(), 2)

    def test_only_bytes(self) -> None:
        for wrong in ("text", bytearray(b"x"), None):
            self.assertRaises(TypeError, self.client.transport.write, wrong)

    def test_pumping_from_inside(self) -> None:
        self.server.on_data = lambda data: self.pipe.pump()
        self.client.transport.write(b"x")
        self.assertRaises(RuntimeError, self.pipe.pump)
        # and it can be pumped again afterwards
        self.assertEqual(self.pipe.pump(), 0)

    def test_addresses_and_options(self) -> None:
        client, server = self.pipe.client, self.pipe.server
        self.assertEqual(client.getHost(), server.getPeer())
        self.assertEqual(client.getPeer(), server.getHost())
        self.assertNotEqual(client.getHost(), client.getPeer())
        self.assertFalse(client.getTcpNoDelay() or client.getTcpKeepAlive())
        client.setTcpNoDelay(True)
        client.setTcpKeepAlive(True)
        self.assertTrue(client.getTcpNoDelay() and client.getTcpKeepAlive())
        self.assertFalse(server.getTcpNoDelay() or server.getTcpKeepAlive())

    def test_another_protocol_takes_over(self) -> None:
        successor = Recorder()
        self.server.on_data = lambda data: setattr(self.pipe.server, "protocol", successor)
        self.client.transport.write(b"ab")
        self.pipe.pump(chunk=1)
        self.assertEqual((self.server.received, successor.received), (b"a", b"b"))


class PauseTests(PipeCase):
    """Backpressure."""

    def test_a_paused_reader_gets_nothing(self) -> None:
        self.server.on_data = lambda data: self.server.transport.pauseProducing()
        self.client.transport.write(b"abc")
        self.assertEqual(self.pipe.pump(chunk=1), 1)
        self.assertEqual(self.server.calls, ["made", b"a"])
        self.server.on_data = lambda data: None
        self.server.transport.resumeProducing()
        self.assertEqual(self.server.calls, ["made", b"a"])
        self.assertEqual(self.pipe.pump(), 2)
        self.assertEqual(self.server.calls, ["made", b"a", b"bc"])

    def test_pausing_one_way_leaves_the_other(self) -> None:
        self.server.transport.pauseProducing()
        self.server.transport.write(b"down")
        self.client.transport.write(b"up")
        self.pipe.pump()
        self.assertEqual((self.client.received, self.server.received), (b"down", b""))

    def test_high_water(self) -> None:
        producer = Producer()
        transport = self.client.transport
        self.server.transport.pauseProducing()
        transport.registerProducer(producer, True)
        transport.write(bytes(HIGH_WATER))
        self.assertEqual(producer.calls, [])
        transport.write(b"x")
        self.assertEqual(producer.calls, ["pause"])
        self.pipe.pump()
        self.assertEqual(producer.calls, ["pause"])
        self.server.transport.resumeProducing()
        self.pipe.pump(max_bytes=HIGH_WATER)
        self.assertEqual(producer.calls, ["pause"])
        self.pipe.pump()
        self.assertEqual(producer.calls, ["pause", "resume"])
        transport.unregisterProducer()
        transport.write(bytes(HIGH_WATER + 1))
        self.assertEqual(producer.calls, ["pause", "resume"])

    def test_another_high_water(self) -> None:
        self.client = Recorder()
        connect(self.client, Recorder(), high_water=10)
        producer = Producer()
        self.client.transport.registerProducer(producer, True)
        self.client.transport.write(bytes(11))
        self.assertEqual(producer.calls, ["pause"])

    def test_a_pull_producer_is_asked_again_and_again(self) -> None:
        producer = Producer()
        parts = [b"c", b"b", b"a"]
        producer.on_resume = lambda: self.client.transport.write(parts.pop() if parts else b"")
        self.client.transport.registerProducer(producer, False)
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", b"a", b"b", b"c"])
        self.assertEqual(producer.calls, ["resume"] * 4)

    def test_one_producer_only(self) -> None:
        self.client.transport.registerProducer(Producer(), True)
        self.assertRaises(RuntimeError, self.client.transport.registerProducer, Producer(), True)

    def test_producers_are_stopped_with_the_connection(self) -> None:
        first, second = Producer(), Producer()
        transport = self.client.transport
        transport.registerProducer(first, True)
        transport.abortConnection()
        self.pipe.pump()
        self.assertEqual(first.calls, ["stop"])
        transport.registerProducer(second, True)
        self.assertEqual(second.calls, ["stop"])

    def test_a_paused_producer_holds_up_the_end(self) -> None:
        producer = Producer()
        transport = self.client.transport
        transport.registerProducer(producer, True)
        transport.write(bytes(HIGH_WATER + 1))
        transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(producer.calls, ["pause", "resume"])
        self.assertTrue(transport.connected)
        transport.unregisterProducer()
        self.pipe.pump()
        self.assertFalse(transport.connected)


class CloseTests(PipeCase):
    """The end, for protocols that know no half-close."""

    def test_close(self) -> None:
        transport = self.client.transport
        transport.write(b"last words")
        transport.loseConnection()
        self.assertEqual(self.client.calls, ["made"])
        self.pipe.pump(chunk=4)
        self.assertEqual(self.client.calls, ["made", ConnectionDone])
        self.assertEqual(self.server.calls, ["made", b"last", b" wor", b"ds", ConnectionDone])
        self.assertFalse(transport.connected or self.pipe.server.connected)
        self.assertTrue(transport.disconnected and self.pipe.server.disconnected)

    def test_whoever_closes_hears_no_more(self) -> None:
        self.client.transport.loseConnection()
        self.server.transport.write(b"too late")
        self.client.transport.resumeProducing()
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made", ConnectionDone])

    def test_what_waits_is_sent_when_the_reader_goes_on(self) -> None:
        self.server.transport.pauseProducing()
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made"])
        self.server.transport.resumeProducing()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", b"x", ConnectionDone])
        self.assertEqual(self.client.calls, ["made", ConnectionDone])

    def test_a_paused_reader_does_not_see_the_end(self) -> None:
        self.server.transport.pauseProducing()
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made"])
        self.server.transport.resumeProducing()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", ConnectionDone])

    def test_writing_to_a_closed_end_is_answered_with_a_reset(self) -> None:
        self.server.transport.pauseProducing()
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.server.transport.write(b"anybody there?")
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", ConnectionLost])

    def test_abort(self) -> None:
        self.server.transport.write(b"never seen")
        self.client.transport.write(b"dropped")
        self.client.transport.abortConnection()
        self.client.transport.abortConnection()
        self.assertEqual(self.client.calls, ["made"])
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made", ConnectionAborted])
        self.assertEqual(self.server.calls, ["made", ConnectionLost])

    def test_abort_from_inside(self) -> None:
        self.server.on_data = lambda data: self.server.transport.abortConnection()
        self.client.transport.write(b"ab")
        self.pipe.pump(chunk=1)
        self.assertEqual(self.server.calls, ["made", b"a", ConnectionAborted])
        self.assertEqual(self.client.calls, ["made", ConnectionLost])

    def test_nothing_is_written_afterwards(self) -> None:
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.client.transport.loseWriteConnection()
        self.client.transport.abortConnection()
        self.assertEqual(self.client.transport.waiting, 0)
        self.assertEqual(self.pipe.pump(), 0)
        self.assertEqual(self.client.calls, ["made", ConnectionDone])

    def test_half_close_is_the_end_for_those_who_do_not_know_it(self) -> None:
        self.client.transport.loseWriteConnection()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", ConnectionDone])
        self.assertEqual(self.client.calls, ["made", ConnectionDone])


class HalfCloseTests(PipeCase):
    """The end of one direction."""

    kind = HalfCloser

    def test_one_direction_after_the_other(self) -> None:
        self.client.transport.write(b"question")
        self.client.transport.loseWriteConnection()
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made", "write lost"])
        self.assertEqual(self.server.calls, ["made", b"question", "read lost"])
        self.client.transport.write(b"ignored")
        self.server.transport.write(b"answer")
        self.server.transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", b"question", "read lost", ConnectionDone])
        self.assertEqual(self.client.calls, ["made", "write lost", b"answer", "read lost"])
        # as with Twisted's sockets: whoever half-closed has to close
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(self.client.calls[4:], [ConnectionDone])

    def test_it_is_seen_after_what_was_written_before(self) -> None:
        self.server.transport.pauseProducing()
        self.client.transport.write(b"x")
        self.client.transport.loseWriteConnection()
        self.pipe.pump()
        self.assertEqual(self.client.calls, ["made"])
        self.server.transport.resumeProducing()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", b"x", "read lost"])

    def test_an_abort_comes_through_afterwards(self) -> None:
        self.client.transport.loseWriteConnection()
        self.pipe.pump()
        self.client.transport.abortConnection()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", "read lost", ConnectionLost])

    def test_a_close_is_an_end_of_reading(self) -> None:
        self.client.transport.loseConnection()
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", "read lost"])
        self.server.transport.write(b"anybody there?")
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", "read lost", ConnectionLost])


class LossTests(PipeCase):
    """The connection goes away by itself."""

    kind = HalfCloser

    def test_broken(self) -> None:
        self.client.transport.write(b"lost")
        self.server.transport.pauseProducing()
        self.pipe.break_link()
        self.assertEqual(self.client.calls, ["made", ConnectionLost])
        self.assertEqual(self.server.calls, ["made", ConnectionLost])
        self.assertEqual(self.pipe.pump(), 0)
        assert self.pipe.client.lost is not None
        self.assertTrue(self.pipe.client.lost.check(ConnectionLost))

    def test_broken_from_inside(self) -> None:
        self.server.on_data = lambda data: self.pipe.break_link()
        self.client.transport.write(b"ab")
        self.pipe.pump(chunk=1)
        self.assertEqual(self.server.calls, ["made", b"a", ConnectionLost])
        self.assertEqual(self.client.calls, ["made", ConnectionLost])

    def test_silent(self) -> None:
        self.pipe.silent = True
        self.client.transport.write(b"x")
        self.client.transport.loseConnection()
        self.assertEqual(self.pipe.pump(), 0)
        self.assertEqual((self.client.calls, self.server.calls), (["made"], ["made"]))
        self.pipe.silent = False
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", b"x", "read lost"])

    def test_giving_up_a_silent_connection(self) -> None:
        self.pipe.silent = True
        self.client.transport.abortConnection()
        self.pipe.pump()
        self.assertEqual((self.client.calls, self.server.calls), (["made", ConnectionAborted], ["made"]))
        self.pipe.silent = False
        self.pipe.pump()
        self.assertEqual(self.server.calls, ["made", ConnectionLost])
