"""The TLS side of an entrypoint: which connector gets a connection, what passes, and how each ends."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ids import short_id
from rtunnel.ops.access import Access, AccessLog
from rtunnel.outcomes import Outcome, TlsOutcome
from rtunnel.routing.ingress import IngressRule
from rtunnel.routing.selection import Selector
from rtunnel.server.entrypoint.tls import TlsVisitor
from rtunnel.server.upstream import UpstreamPool
from rtunnel.settings import HttpSettings
from rtunnel.tunnel.splice import Splice
from rtunnel.wire.clienthello import Alert, alert_record
from rtunnel.wire.relay import RelayAddress
from tests.server.harness import Visitor, World
from tests.support.compiled import interpreted
from tests.support.heads import GET
from tests.support.hellos import client, hello, record, records, server_name
from tests.support.ids import TUNNEL
from tests.support.pipe import HIGH_WATER, READ_SIZE

HELLO = record(hello(server_name(b"pod.local")))
ANSWER = record(b"\x02\0\0\0") + b"whatever else a server says"


class TlsTests(SynchronousTestCase):
    """An entrypoint with two connectors; the laptop's takes all as long as it is attached."""

    def setUp(self) -> None:
        self.world = World(self)
        self.laptop = self.world.attach(255)
        self.pod = self.world.attach(1)

    def ended(self, *outcomes: TlsOutcome) -> None:
        """So the connections ended, and no other, and nothing was left behind."""
        counts = {outcome: outcomes.count(outcome) for outcome in TlsOutcome}
        self.assertEqual(self.world.stats.tls, counts)
        self.assertEqual(self.world.outcomes(), {})
        self.assertEqual(self.world.stats.visitors_open, 0)
        self.assertEqual(self.world.entrypoint.visitors, set())
        self.assertFalse(self.world.entrypoint.busy)

    def told(self, visitor: Visitor, alert: Alert) -> None:
        """The visitor got an alert and the end of our direction; the connection closes when it closes its own."""
        self.assertEqual(visitor.received, alert_record(alert))
        self.assertTrue(visitor.half_closed)
        visitor.send(b"whatever was under way")
        self.assertEqual(visitor.received, alert_record(alert))
        visitor.end_sending()
        self.closed_cleanly(visitor)

    def closed_cleanly(self, visitor: Visitor) -> None:
        self.assertTrue(visitor.near.disconnected)
        self.assertFalse(visitor.aborted)


class PassingTests(TlsTests):
    """Connections that reach a target."""

    def test_untouched(self) -> None:
        """Both directions pass byte for byte; the client is told who visits and what was asked for."""
        visitor = self.world.visit(HELLO)
        self.assertEqual(self.laptop.stream.take(), HELLO)
        source, destination = self.laptop.stream.preface.addresses
        self.assertEqual(source, RelayAddress("192.168.1.1", 54321))
        self.assertEqual(destination, RelayAddress("pod.local", 443))
        self.laptop.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)
        visitor.send(b"GET / HTTP/1.1\r\n\r\n\x16\x01\x00")
        self.assertEqual(self.laptop.stream.take(), b"GET / HTTP/1.1\r\n\r\n\x16\x01\x00")
        self.laptop.stream.answer(b"\xff" * 1000)
        self.assertEqual(visitor.received, ANSWER + b"\xff" * 1000)
        self.assertTrue(self.world.entrypoint.busy)

    def test_real_hello(self) -> None:
        *_, data = client("pod.local")
        self.world.visit(data)
        self.assertEqual(self.laptop.stream.take(), data)

    def test_byte_by_byte(self) -> None:
        """Nothing is asked of anybody before the hello is whole."""
        data = records(hello(server_name(b"pod.local")), 1, 2, 30)
        visitor = self.world.visit()
        for position in range(len(data)):
            self.assertEqual(self.laptop.streams, [])
            visitor.send(data[position : position + 1])
        self.assertEqual(self.laptop.stream.take(), data)

    def test_early_data(self) -> None:
        """What follows the hello before any answer passes, whether it comes with it or later."""
        early = record(b"\1", kind=20) + record(b"early", kind=23)
        visitor = self.world.visit(HELLO + early)
        visitor.send(early)
        self.assertEqual(self.laptop.stream.take(), HELLO + early + early)
        self.laptop.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)

    def test_names(self) -> None:
        """The rules are those of HTTP: exact before wildcard, any case, any depth."""
        other = self.world.attach(1)
        self.world.rules(IngressRule("*.pod.local", TUNNEL), IngressRule("quiet.pod.local", TUNNEL, private=True))
        for name in (b"pod.local", b"a.pod.local", b"A.B.Pod.LOCAL"):
            self.world.visit(record(hello(server_name(name))))
            self.laptop.stream.take()
            self.assertEqual(self.laptop.stream.preface.addresses[1].host, name.decode().lower())
        self.told(self.world.visit(record(hello(server_name(b"quiet.pod.local")))), Alert.UNRECOGNIZED_NAME)
        self.assertEqual((len(self.laptop.streams), len(other.streams)), (3, 0))

    def test_half_close(self) -> None:
        """Each direction ends by itself; when both have, it is done."""
        visitor = self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        visitor.end_sending()
        self.assertTrue(self.laptop.stream.finished)
        self.laptop.stream.answer(b"the rest")
        self.assertEqual(visitor.received, ANSWER + b"the rest")
        self.laptop.stream.close()
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.DONE)

    def test_half_close_before_the_answer(self) -> None:
        visitor = self.world.visit(HELLO)
        visitor.end_sending()
        self.laptop.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)
        self.assertTrue(self.laptop.stream.finished)
        self.laptop.stream.close()
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.DONE)

    def test_visitor_leaves(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        visitor.vanish()
        self.assertTrue(self.laptop.stream.finished and self.laptop.stream.stopped)
        self.ended(TlsOutcome.VISITOR_GONE)

    def test_visitor_stalls(self) -> None:
        """Before the first byte of the response or after it."""
        for answer in (b"", ANSWER):
            visitor = self.world.visit(HELLO)
            self.laptop.stream.answer(answer)
            visitor.stall()
            self.assertTrue(self.laptop.stream.finished and self.laptop.stream.stopped)
        self.assertEqual(self.world.stats.tls[TlsOutcome.STALLED], 2)

    @interpreted
    def test_error(self) -> None:
        """Of our own, at any seam: it costs this connection alone, and is logged once."""
        for owner, name in (
            (Selector, "rule"),
            (Selector, "select"),
            (UpstreamPool, "open_raw"),
            (TlsVisitor, "succeeded"),
            (Splice, "join"),
        ):
            with self.subTest(seam=name):
                self.setUp()
                other = self.world.visit(HELLO)
                broken: list[bool] = []
                original = getattr(owner, name)

                def fail(*arguments: Any, original: Any = original, broken: list[bool] = broken, **more: Any) -> Any:
                    if broken:
                        return original(*arguments, **more)
                    broken.append(True)
                    raise ZeroDivisionError

                self.patch(owner, name, fail)
                visitor = self.world.visit(HELLO)
                if len(self.laptop.streams) > 1:
                    self.laptop.stream.answer(ANSWER)
                self.assertTrue(visitor.aborted)
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
                self.assertEqual(self.world.stats.tls[TlsOutcome.ERROR], 1)
                self.laptop.streams[0].answer(ANSWER)
                self.assertEqual(other.received, ANSWER)
                other.vanish()
                self.assertEqual(sum(self.world.stats.tls.values()), 2)
                self.assertEqual((self.world.stats.visitors_open, len(self.laptop.link.streams)), (0, 0))

    def test_connector_leaves(self) -> None:
        """After the first byte of an answer nothing is sent again."""
        visitor = self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        self.laptop.lose()
        self.closed_cleanly(visitor)
        self.assertEqual(self.pod.streams, [])
        self.ended(TlsOutcome.TARGET_GONE)

    def test_vanished_visitors_are_noticed(self) -> None:
        """By the system, which probes a connection that is silent."""
        self.assertTrue(self.world.visit(HELLO).near.getTcpKeepAlive())

    def test_no_limit_of_time(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        self.world.pass_time(3600)
        self.laptop.stream.answer(b"still here")
        self.assertEqual(visitor.received, ANSWER + b"still here")

    def test_slow_visitor(self) -> None:
        """The target is held back by the credit of the stream."""
        visitor = self.world.visit(HELLO)
        visitor.stop_reading()
        self.laptop.stream.answer(ANSWER + b"x" * 5000000)
        self.assertLessEqual(visitor.near.waiting, HIGH_WATER + READ_SIZE)
        self.assertEqual(visitor.received, b"")
        visitor.read_on()
        self.assertEqual(visitor.received, ANSWER + b"x" * 5000000)

    def test_slow_target(self) -> None:
        """The visitor is not read while the target takes nothing."""
        world = World(self)
        pod = world.attach(consume=False)
        visitor = world.visit(HELLO)
        pod.stream.answer(ANSWER)
        for _ in range(40):
            visitor.send(b"x" * 65536)
        self.assertTrue(visitor.held_up)
        self.assertLess(len(pod.stream.raw), 2 * 2**20)
        pod.consume = True
        pod.session.consumed(pod.stream.id, len(pod.stream.raw))
        pod.flush()
        self.assertEqual(pod.stream.take(), HELLO + b"x" * 65536 * 40)

    def test_bytes_are_counted_once(self) -> None:
        visitor = self.world.visit(HELLO[:10])
        visitor.send(HELLO[10:] + b"early")
        visitor.send(b"more")
        self.laptop.stream.answer(ANSWER)
        visitor.send(b"last")
        visitor.vanish()
        self.assertEqual(self.world.stats.bytes_in, len(HELLO) + len(b"earlymorelast"))
        self.assertEqual(self.world.stats.bytes_out, len(ANSWER))
        self.assertEqual(self.laptop.connector.requests, 1)


class RefusalTests(TlsTests):
    """Connections that reach none."""

    def test_unknown_name(self) -> None:
        for name in (b"elsewhere.local", b"secret.local"):
            self.told(self.world.visit(record(hello(server_name(name)))), Alert.UNRECOGNIZED_NAME)
        self.ended(TlsOutcome.UNKNOWN_NAME, TlsOutcome.UNKNOWN_NAME)

    def test_no_name(self) -> None:
        """Not even the rule for every host takes it: there is no host."""
        self.world.rules(IngressRule("*", TUNNEL))
        self.told(self.world.visit(record(hello())), Alert.UNRECOGNIZED_NAME)
        self.ended(TlsOutcome.UNKNOWN_NAME)

    def test_no_connector(self) -> None:
        self.told(self.world.visit(record(hello(server_name(b"nobody.local")))), Alert.INTERNAL_ERROR)
        self.ended(TlsOutcome.NO_CONNECTOR)

    def test_malformed(self) -> None:
        self.told(self.world.visit(record(hello(b"\0"))), Alert.DECODE_ERROR)
        self.told(self.world.visit(HELLO[:20]).send(b"\0" * 200), Alert.DECODE_ERROR)
        self.told(self.world.visit(b"\x16\x02\x00"), Alert.PROTOCOL_VERSION)
        self.ended(*[TlsOutcome.BAD_HELLO] * 3)

    def test_endless_hello(self) -> None:
        visitor = self.world.visit(b"\x16")
        self.world.visit(b"\x16").send(b"\x03\x01\x40\0\x01\0\xff\xfc" + bytes(16380)).leave()
        visitor.send(b"\x03\x01\0\x04\x01\0\xff\xfc" + record(b"x") * 10922)
        self.told(visitor, Alert.ILLEGAL_PARAMETER)
        self.ended(TlsOutcome.VISITOR_GONE, TlsOutcome.BAD_HELLO)

    def test_slow_hello(self) -> None:
        """The limit is that of a request's head, and counts from the first byte."""
        visitor = self.world.visit(HELLO[:1])
        for position in range(1, 12):
            visitor.send(HELLO[position : position + 1])
            self.world.pass_time(1)
        self.world.pass_time(4)
        self.assertEqual(visitor.received, b"")
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.HELLO_TIMEOUT)

    def test_visitor_leaves_within_the_hello(self) -> None:
        self.world.visit(HELLO[:30]).vanish()
        visitor = self.world.visit(HELLO[:30])
        visitor.end_sending()
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.VISITOR_GONE, TlsOutcome.VISITOR_GONE)

    def test_visitor_stays_after_the_alert(self) -> None:
        """It is cut off in the end."""
        visitor = self.world.visit(record(hello()))
        self.world.pass_time(1)
        self.assertFalse(visitor.aborted)
        self.world.pass_time(2)
        self.assertTrue(visitor.aborted)
        self.ended(TlsOutcome.UNKNOWN_NAME)

    def test_only_at_the_head_of_a_connection(self) -> None:
        """After a request, and after an empty line, it is a malformed request."""
        visitor = self.world.visit(GET)
        self.laptop.stream.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
        visitor.send(HELLO)
        self.assertIn(b"\r\n\r\nHTTP/1.1 400 ", visitor.received)
        self.assertTrue(self.world.visit(b"\r\n").send(HELLO).received.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(self.world.outcomes(), {Outcome.ANSWERED: 1, Outcome.BAD_REQUEST: 2})
        self.assertEqual(sum(self.world.stats.tls.values()), 0)


class RetryTests(TlsTests):
    """Connectors that fail before the first byte of an answer."""

    def test_target_refuses(self) -> None:
        """The next connector gets all that was said so far; the visitor notices nothing."""
        visitor = self.world.visit(HELLO)
        visitor.send(b"early")
        self.laptop.stream.close()
        self.assertEqual(self.pod.stream.take(), HELLO + b"early")
        self.pod.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)
        self.assertTrue(self.laptop.stream.finished)
        self.assertEqual(self.world.stats.retries_total, 1)
        visitor.vanish()
        self.ended(TlsOutcome.VISITOR_GONE)

    def test_link_lost(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.lose()
        self.pod.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)

    def test_closing_link(self) -> None:
        self.laptop.be_closing()
        self.world.visit(HELLO)
        self.assertEqual(self.pod.stream.take(), HELLO)

    def test_all_fail(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.stream.close()
        self.pod.stream.close()
        self.told(visitor, Alert.INTERNAL_ERROR)
        self.ended(TlsOutcome.TARGET_FAILED)

    def test_all_fail_after_a_flood(self) -> None:
        """The visitor is read again, or it would never see the alert."""
        visitor = self.world.visit(HELLO)
        visitor.send(b"x" * 65537)
        self.assertTrue(visitor.held_up)
        self.laptop.stream.refuse()
        self.pod.stream.refuse()
        self.assertFalse(visitor.held_up)
        self.told(visitor, Alert.INTERNAL_ERROR)
        self.ended(TlsOutcome.TARGET_FAILED)

    def test_all_fail_after_a_half_close(self) -> None:
        """There is nothing to wait for after the alert."""
        visitor = self.world.visit(HELLO)
        visitor.end_sending()
        self.laptop.stream.refuse()
        self.pod.stream.refuse()
        self.assertEqual(visitor.received, alert_record(Alert.INTERNAL_ERROR))
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.TARGET_FAILED)

    def test_no_answer(self) -> None:
        visitor = self.world.visit(HELLO)
        self.world.pass_time(13)
        self.assertEqual(visitor.received, b"")
        self.world.pass_time(2.5)
        self.assertTrue(self.laptop.stream.finished)
        self.told(visitor, Alert.INTERNAL_ERROR)
        self.ended(TlsOutcome.RESPONSE_TIMEOUT)

    def test_no_limit_for_the_answer(self) -> None:
        world = World(self, HttpSettings(response_timeout=0))
        pod = world.attach()
        visitor = world.visit(HELLO)
        world.pass_time(600)
        pod.stream.answer(ANSWER)
        self.assertEqual(visitor.received, ANSWER)

    def test_visitor_leaves(self) -> None:
        self.world.visit(HELLO).vanish()
        self.assertTrue(self.laptop.stream.finished and self.laptop.stream.stopped)
        self.assertEqual(self.pod.streams, [])
        self.ended(TlsOutcome.VISITOR_GONE)

    def test_flood_before_the_answer(self) -> None:
        """What may have to be sent again is bounded: the visitor is not read any more, until there is an answer."""
        visitor = self.world.visit(HELLO)
        visitor.send(b"x" * 65536)
        self.assertFalse(visitor.held_up)
        visitor.send(b"y")
        self.assertTrue(visitor.held_up)
        self.laptop.stream.close()
        self.assertEqual(self.pod.stream.take(), HELLO + b"x" * 65536 + b"y")
        self.pod.stream.answer(ANSWER)
        self.assertFalse(visitor.held_up)
        visitor.send(b"z")
        self.assertEqual(self.pod.stream.take(), b"z")


class AccessTests(TlsTests):
    """Each connection leaves a line in the access log, where there is one."""

    def setUp(self) -> None:
        super().setUp()
        self.lines: list[Access] = []

        self.world.entrypoint.access = AccessLog(self.lines.append)

    def test_passed(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.stream.close()
        self.pod.stream.answer(ANSWER)
        visitor.send(b"more")
        self.assertEqual(self.lines, [])
        visitor.vanish()
        (line,) = self.lines
        self.assertEqual((line.kind, line.visitor, line.host, line.outcome), ("tls", "192.168.1.1", "pod.local", "visitor_gone"))
        self.assertEqual((line.tunnel, line.connector, line.retries), (short_id(TUNNEL), self.pod.connector.shown, 1))
        self.assertEqual((line.received, line.sent), (len(HELLO + b"more"), len(ANSWER)))
        self.assertIsNotNone(line.first_byte)

    def test_refused(self) -> None:
        self.world.visit(record(hello(server_name(b"elsewhere.local")))).leave()
        self.world.visit(HELLO[:9]).leave()
        first, second = self.lines
        self.assertEqual((first.host, first.outcome, first.tunnel), ("elsewhere.local", "unknown_name", ""))
        self.assertEqual((second.host, second.outcome, second.received, second.sent), ("", "visitor_gone", 9, 0))
        self.assertIsNone(first.first_byte)


class EndTests(TlsTests):
    """The server stops."""

    def test_drain(self) -> None:
        """Who has not said yet what it wants is closed; the others go on, and are waited for."""
        waiting, asking, joined = self.world.visit(HELLO[:9]), self.world.visit(HELLO), self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        self.world.entrypoint.drain()
        self.world.turn()
        self.assertEqual([visitor.closed for visitor in (waiting, asking, joined)], [True, False, False])
        self.assertTrue(self.world.entrypoint.busy)
        self.laptop.streams[0].answer(ANSWER)
        for visitor, stream in ((asking, self.laptop.streams[0]), (joined, self.laptop.streams[1])):
            visitor.end_sending()
            stream.close()
        self.ended(TlsOutcome.STOPPED, TlsOutcome.DONE, TlsOutcome.DONE)

    def test_cut(self) -> None:
        waiting, asking, joined = self.world.visit(HELLO[:9]), self.world.visit(HELLO), self.world.visit(HELLO)
        told = self.world.visit(record(hello()))
        self.laptop.stream.answer(ANSWER)
        self.world.entrypoint.cut()
        self.world.turn()
        self.assertTrue(all(visitor.aborted for visitor in (waiting, asking, joined, told)))
        self.assertTrue(all(stream.finished for stream in self.laptop.streams))
        self.ended(TlsOutcome.UNKNOWN_NAME, *[TlsOutcome.STOPPED] * 3)

    def test_cut_by_the_link(self) -> None:
        visitor = self.world.visit(HELLO)
        self.laptop.stream.answer(ANSWER)
        self.laptop.transport.loseConnection()
        self.world.turn()
        self.closed_cleanly(visitor)
        self.ended(TlsOutcome.TARGET_GONE)
