"""Streams on their way to a target that the test plays, over a real link."""

from __future__ import annotations

from rtunnel.client.targets import STALL_SWEEP
from rtunnel.ops.descriptors import RESERVE
from rtunnel.outcomes import StreamOutcome
from rtunnel.wire.relay import RelayAddress, Response, Status, stream_preface
from rtunnel.wire.smux import BROKEN, FINISHED, REFUSED, STOPPED
from tests.client.harness import PREFACE, ForwarderCase, aborted, closed
from tests.support.logs import logged


class ForwarderTests(ForwarderCase):
    def test_forwards(self) -> None:
        """Also when the preface comes byte by byte; what comes while the target is dialed is not lost."""
        for byte in PREFACE:
            self.assertEqual(self.target.waiting, [])
            self.send(bytes([byte]))
        self.send(b"early ")
        self.target.accept()
        self.turn()
        self.send(b"late")
        self.assertEqual(self.target.peer.take(), b"early late")
        self.say(b"answer")
        self.assertEqual(self.received, b"answer")

    def test_any_destination(self) -> None:
        """Whatever name the visitor asked for, the target is the one of the client (gost: go-gost/gost#898)."""
        for destination in (RelayAddress("ssh.svc", 0), RelayAddress("other.svc", 5432), RelayAddress("192.0.2.1", 80)):
            self.setUp()
            self.send(stream_preface(RelayAddress("192.0.2.1", 4711), destination) + b"hello")
            self.target.accept()
            self.turn()
            self.assertEqual(self.target.peer.take(), b"hello")

    def test_ends(self) -> None:
        """Half-close passes both ways; when both directions ended, both sides are closed and one outcome recorded."""
        self.send(PREFACE + b"question")
        self.target.accept()
        self.server.finish(self.stream)
        self.turn()
        self.assertTrue(self.target.peer.read_ended)
        self.say(b"answer")
        self.assertEqual(self.received, b"answer")
        self.target.peer.transport.loseWriteConnection()
        self.turn()
        self.assertIn(FINISHED, self.signals)
        self.assertTrue(closed(self.target.transport))
        self.assertEqual(self.outcomes(), {StreamOutcome.DONE: 1})
        self.assertEqual((self.stats.bytes_in, self.stats.bytes_out), (8, 6))
        self.assertEqual((len(self.forwarder.open), self.server.streams), (0, 0))

    def test_target_refuses(self) -> None:
        """The stream is closed without a byte, and the server is told that nothing was delivered: it may ask another connector."""
        self.send(PREFACE + b"question")
        self.target.refuse()
        self.turn()
        self.assertEqual(self.received, b"")
        self.assertEqual(self.signals[-3:], [REFUSED, STOPPED, FINISHED])
        self.assertEqual(self.outcomes(), {StreamOutcome.TARGET_REFUSED: 1})

    def test_too_many_streams(self) -> None:
        """Without a descriptor for its target a stream is refused at once; the log says so once, and again after it was over."""
        self.send(PREFACE)
        self.budget.start(RESERVE + 1)
        with logged() as lines:
            for _ in range(3):
                self.server.send(self.server.open(), PREFACE)
            self.turn()
        self.assertEqual(self.signals, [REFUSED, STOPPED, FINISHED] * 3)
        self.assertEqual((len(self.target.waiting), self.outcomes()), (1, {StreamOutcome.TOO_MANY: 3}))
        self.assertEqual([line.partition(",")[0] for line in lines], ["1 streams are open"])
        for _ in range(2):
            self.server.finish(self.stream)
            self.target.accept()
            self.turn()
            self.target.peer.transport.loseConnection()
            self.turn()
            self.assertEqual(len(self.forwarder.open), 0)
            self.stream = self.server.open()
            self.send(PREFACE)
        self.assertEqual(len(self.target.waiting), 1)

    def test_target_dies(self) -> None:
        """What it sent before is delivered."""
        self.send(PREFACE)
        self.target.accept()
        self.say(b"part")
        self.target.pipe.break_link()
        self.turn()
        self.assertEqual(self.received, b"part")
        self.assertEqual(self.signals, [BROKEN, STOPPED, FINISHED])
        self.assertEqual(self.outcomes(), {StreamOutcome.TARGET_LOST: 1})

    def test_target_dies_after_a_half_close(self) -> None:
        """Nobody writes to it any more; what it sends is not complete all the same."""
        self.send(PREFACE + b"question")
        self.target.accept()
        self.server.finish(self.stream)
        self.turn()
        self.say(b"part")
        self.target.pipe.break_link()
        self.turn()
        self.assertEqual(self.received, b"part")
        self.assertIn(BROKEN, self.signals)

    def test_no_target_for_it(self) -> None:
        """Not the same as a target that cannot be reached: another host of the same client may have one."""
        self.patch(self.forwarder, "choose", lambda preface: None)
        self.send(PREFACE)
        self.assertEqual(self.signals, [STOPPED, FINISHED])
        self.assertEqual(self.outcomes(), {StreamOutcome.NO_TARGET: 1})

    def test_target_dies_while_the_server_is_behind(self) -> None:
        """What waits for credit is delivered as well: Twisted stops the producer of a connection that is lost."""
        self.end.consume = False
        self.send(PREFACE)
        self.target.accept()
        self.say(b"x" * 400_000)
        taken = 400_000 - self.target.peer.transport.waiting
        self.assertLess(len(self.received), 300_000)
        self.assertLess(len(self.received), taken)
        self.target.pipe.break_link()
        self.turn()
        self.server.consumed(self.stream, len(self.received))
        self.turn()
        self.assertEqual(len(self.received), taken)

    def test_visitor_leaves(self) -> None:
        """The server gives the stream up: the target's connection closes."""
        self.send(PREFACE)
        self.target.accept()
        self.say(b"x" * 1000)
        self.server.abort(self.stream)
        self.turn()
        self.assertTrue(self.target.transport.disconnected)
        self.assertEqual(len(self.forwarder.open), 0)
        self.assertEqual(sum(self.outcomes().values()), 1)

    def test_visitor_leaves_while_dialing(self) -> None:
        """The connect is cancelled at once, however much of an upload waits for it; what was refused meanwhile says nothing."""
        for upload, ended in ((0, self.leave), (200_000, self.leave), (0, self.lose)):
            self.setUp()
            self.send(PREFACE + b"question")
            self.send(bytes(upload))
            with logged() as lines:
                ended()
                self.turn()
            self.assertEqual((self.target.cancelled, self.target.waiting, lines), (1, [], []))
            self.assertEqual(self.outcomes(), {StreamOutcome.VISITOR_LOST: 1})
            self.assertEqual(len(self.forwarder.open), 0)

    def leave(self) -> None:
        self.server.abort(self.stream)

    def lose(self) -> None:
        self.wire.break_link()

    def test_half_close_while_dialing(self) -> None:
        """Who has said all that it has to say still wants the answer."""
        self.send(PREFACE + b"question")
        self.server.finish(self.stream)
        self.turn()
        self.target.accept()
        self.turn()
        self.assertEqual((self.target.peer.take(), self.target.peer.read_ended), (b"question", True))
        self.say(b"answer")
        self.assertEqual(self.received, b"answer")

    def test_visitor_leaves_before_the_preface(self) -> None:
        """A server that holds back what a slow link cannot take may give a stream up before it said what it is for."""
        self.turn()
        self.server.abort(self.stream)
        self.turn()
        self.assertEqual(self.outcomes(), {StreamOutcome.VISITOR_LOST: 1})

    def test_link_lost(self) -> None:
        """A target must not take a cut for a clean end."""
        self.send(PREFACE)
        self.target.accept()
        self.wire.break_link()
        self.turn()
        self.assertTrue(aborted(self.target.transport))
        self.assertEqual(self.outcomes(), {StreamOutcome.VISITOR_LOST: 1})

    def test_bad_preface(self) -> None:
        for preface in (b"GET / HTTP/1.1\r\n\r\n", Response(status=Status.FORBIDDEN).encode()):
            with self.subTest(preface=preface):
                self.setUp()
                self.send(preface)
                self.assertEqual(self.target.waiting, [])
                self.assertEqual(self.outcomes(), {StreamOutcome.BAD_PREFACE: 1})
                self.assertIn(FINISHED, self.signals)

    def test_silent_stream(self) -> None:
        """A stream without a preface is given up, and disturbs no other."""
        self.turn()
        self.clock.advance(STALL_SWEEP)
        self.turn()
        self.assertEqual(self.outcomes(), {})
        self.clock.advance(STALL_SWEEP)
        self.turn()
        self.assertEqual(self.outcomes(), {StreamOutcome.BAD_PREFACE: 1})
        self.assertIn(FINISHED, self.signals)

    def test_target_does_not_read(self) -> None:
        """What the target does not take stops the server after a window."""
        self.send(PREFACE)
        self.target.accept()
        self.turn()
        self.target.peer.transport.pauseProducing()
        self.send(b"x" * 5_000_000)
        self.assertLess(self.target.transport.waiting, 2_000_000)
        self.target.peer.transport.resumeProducing()
        self.turn()
        self.assertEqual(len(self.target.peer.take()), 5_000_000)

    def test_server_does_not_read(self) -> None:
        """What the server does not take stops the target."""
        self.end.consume = False
        self.send(PREFACE)
        self.target.accept()
        self.say(b"x" * 1_000_000)
        self.assertFalse(self.target.transport.reading)
        self.assertGreater(self.target.peer.transport.waiting, 500_000)

    def stand_still(self) -> None:
        """A gost that lost its visitor: FIN, and nothing is read any more."""
        self.test_server_does_not_read()
        self.server.finish(self.stream)
        self.turn()

    def test_stands_still(self) -> None:
        """A stream whose reader is gone without saying so is given up."""
        self.stand_still()
        self.clock.pump([10.0] * 4)
        self.turn()
        self.assertTrue(self.target.transport.disconnected)

    def test_moves_again(self) -> None:
        """A slow reader is not a gone one."""
        self.stand_still()
        for _ in range(6):
            self.clock.pump([10.0, 10.0])
            self.server.consumed(self.stream, 65536)
            self.turn()
        self.assertTrue(self.target.transport.connected)

    def test_activity(self) -> None:
        """A stream whose target owes an answer, or that moves, is active; one that waits for the next request is not."""
        self.send(PREFACE + b"question")
        self.assertTrue(self.forwarder.poll_activity())
        self.target.accept()
        self.turn()
        self.assertTrue(self.forwarder.poll_activity())
        self.assertTrue(self.forwarder.poll_activity())
        self.say(b"answer")
        self.assertTrue(self.forwarder.poll_activity())
        self.assertFalse(self.forwarder.poll_activity())

    def test_stopped_by_the_server(self) -> None:
        """STOPPED is what the server hears when the target went away first."""
        self.send(PREFACE)
        self.target.accept()
        self.turn()
        self.target.pipe.break_link()
        self.turn()
        self.assertIn(STOPPED, self.signals)
