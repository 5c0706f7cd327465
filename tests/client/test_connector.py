"""A connector against a server that the test plays: joining, refusals, losses, the waits between attempts."""

from __future__ import annotations

import errno
from typing import Any, cast
from uuid import UUID, uuid4

from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from twisted.logger import formatEvent as log_text
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client.connector import ConnectorClient
from rtunnel.client.refusals import CLOSED_EARLY
from rtunnel.client.share_report import TIMEOUT
from rtunnel.metrics.stats import ClientStats
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.settings import Address, ConnectorSettings, Credentials
from rtunnel.wire.relay import Command, RelayAddress, Response, Status, TunnelFeature, take_request
from rtunnel.wire.relay_intercepts import InterceptAnswer, InterceptRequest
from tests.client.harness import Peer, PlayedEndpoint, aborted, closed, settle

TUNNEL = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
JOINED = Response(status=Status.OK, addresses=(RelayAddress("6ffa35ed91e34471", 0),), tunnel=TunnelFeature(uuid4(), weight=7))


class ConnectorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = PlayedEndpoint()
        self.stats = ClientStats()
        self.joined = 0
        self.events: list[Any] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.make()

    def make(self, **settings: Any) -> None:
        self.connector = ConnectorClient(
            ConnectorSettings(
                server=Address("server", 8421),
                transport="ws",
                tunnel=TUNNEL,
                target=Address("localhost", 80),
                **{"weight": 7, "bind": Address("", 0), **settings},
            ),
            stats=self.stats,
            reactor=self.clock,
            on_joined=self.on_joined,
            endpoint=self.server,
            random=lambda: 1.0,
        )

    def on_joined(self) -> None:
        self.joined += 1

    def settle(self) -> None:
        settle(self.clock, self.server)

    def accept(self) -> Peer:
        """The server takes the connection; returns its end."""
        server = self.server.accept()
        self.settle()
        return server

    def say(self, data: bytes) -> None:
        """The server sends bytes."""
        self.server.peer.transport.write(data)
        self.settle()

    def lose(self) -> None:
        """The server closes the connection."""
        self.server.peer.transport.loseConnection()
        self.settle()

    def join(self) -> None:
        self.connector.start()
        self.accept()
        self.say(JOINED.encode())
        self.assertTrue(self.connector.joined)

    def attempts_planned(self) -> list[float]:
        """When attempts are planned (the other timer is the forwarder's)."""
        return [call.getTime() for call in self.clock.getDelayedCalls() if "_try" in str(call)]

    def failed(self, *words: str) -> None:
        """The attempt has failed with one line in the log, and another one follows."""
        self.settle()
        self.assertEqual(len(self.attempts_planned()), 1)
        self.assertEqual((self.joined, self.stats.losses), (0, 0))
        self.assertTrue(all(pipe.client.disconnected for pipe in self.server.pipes))
        (line,) = [event["what"] for event in self.events if event.get("log_level") is LogLevel.warn and "what" in event]
        self.assertTrue(line.startswith("cannot join: "), line)
        for word in words:
            self.assertIn(word, line)
        self.assertNotIn("\n", line)
        self.assertNotIn("swordfish", line)

    def test_asks_to_bind(self) -> None:
        self.make(credentials=Credentials("ada", "swordfish"))
        self.connector.start()
        taken = take_request(self.accept().take())
        assert taken is not None
        request = taken[0]
        self.assertIs(request.command, Command.BIND)
        self.assertEqual(request.tunnel, TunnelFeature(TUNNEL, weight=7))
        self.assertEqual(request.credentials, ("ada", "swordfish"))
        self.assertEqual(request.addresses[-1], RelayAddress("0.0.0.0", 0))

    def test_keeps_caching(self) -> None:
        self.make(intercept=(InterceptFilter.parse("path=/"),), keep_caching=True)
        self.connector.start()
        taken = take_request(self.accept().take())
        assert taken is not None
        self.assertTrue(InterceptRequest.of(taken[0].metadata).cacheable)

    def intercepting(self) -> None:
        self.make(intercept=(InterceptFilter.parse("header:X-User=alice; path^=/"),), name="alice")
        self.connector.start()
        self.accept()

    def test_asks_to_intercept(self) -> None:
        """By a command that servers which do not know filters refuse."""
        self.intercepting()
        taken = take_request(self.server.peer.take())
        assert taken is not None
        self.assertIs(taken[0].command, Command.INTERCEPT)
        self.assertEqual(InterceptRequest.of(taken[0].metadata), InterceptRequest("alice", ("header:x-user=alice; path^=/",)))

    def test_intercepts(self) -> None:
        self.intercepting()
        granted = InterceptAnswer(hosts=("pod.local",), warning="requests of bob\n")
        self.say(Response(JOINED.status, JOINED.addresses, JOINED.tunnel, granted.metadata()).encode())
        self.assertTrue(self.connector.joined)
        texts = [log_text(event) for event in self.events]
        self.assertIn("try it: curl -H 'x-user: alice' http://pod.local/", texts)
        self.assertIn("requests of bob\\n", texts)

    def test_a_grant_that_knows_nothing_of_filters(self) -> None:
        """Such a server might send all requests, so we leave."""
        self.intercepting()
        self.say(JOINED.encode())
        self.failed("without saying that it knows intercepts")

    def test_somebody_else_has_them(self) -> None:
        self.intercepting()
        answer = InterceptAnswer(why="path^=/", holder="bob", taken="path^=/")
        self.say(Response(Status.FORBIDDEN, metadata=answer.metadata()).encode())
        self.failed("are taken by bob")

    def test_unknown_command(self) -> None:
        self.intercepting()
        self.say(Response(Status.BAD_REQUEST).encode())
        self.failed("it does not know intercepts")

    def test_unknown_metadata(self) -> None:
        """Gost 3.2 closes the connection."""
        self.intercepting()
        self.lose()
        self.failed("may close the connection")

    def test_joins(self) -> None:
        """Also when the answer comes byte by byte."""
        self.connector.start()
        self.accept()
        for byte in JOINED.encode():
            self.assertEqual(self.joined, 0)
            self.say(bytes([byte]))
        self.assertEqual((self.joined, self.stats.joins, self.stats.attempts), (1, 1, 1))

    def said_of_joins(self) -> list[str]:
        lines = [formatEvent(event) or "" for event in self.events if event.get("log_level") is not LogLevel.debug]
        return [line for line in lines if ": joined tunnel" in line]

    def test_what_a_person_reads(self) -> None:
        """Where requests go, and which part of them, as far as a server says it that does not know of such things."""
        for settings, line in [
            ({"weight": 7}, "localhost:80: joined tunnel 10bc451e, you get a share of the requests (weight 7)"),
            ({"weight": 255}, "localhost:80: joined tunnel 10bc451e, you get all requests (weight 255)"),
        ]:
            self.events.clear()
            self.make(**settings)
            self.join()
            self.assertEqual(self.said_of_joins(), [])
            self.clock.advance(TIMEOUT)
            self.assertEqual(self.said_of_joins(), [line])

    def test_lost_before_that(self) -> None:
        self.join()
        self.lose()
        self.clock.advance(0)
        self.assertFalse([call for call in self.clock.getDelayedCalls() if "_announce" in str(call)])

    def test_endpoint_that_was_asked_for(self) -> None:
        self.make(bind=Address("my.local", 0))
        self.join()
        self.clock.advance(TIMEOUT)
        (said,) = self.said_of_joins()
        self.assertTrue(said.startswith("6ffa35ed91e34471 -> localhost:80: joined"), said)

    def test_nothing_waits_to_be_sent_with_more(self) -> None:
        """Over plain TCP, each end would wait for the other's acknowledgement before a small frame leaves (Nagle)."""
        self.join()
        self.assertTrue(self.server.transport.getTcpNoDelay())

    def test_server_down(self) -> None:
        """Each attempt that fails is followed by another, later and later."""
        self.connector.start()
        waits = []
        for _ in range(1, 10):
            self.assertEqual(len(self.server.waiting), 1)
            self.server.refuse()
            (call,) = self.attempts_planned()
            waits.append(call - self.clock.seconds())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [0.5, 1, 2, 4, 8, 16, 30, 30, 30])

    def test_same_failure_again(self) -> None:
        """It is said in full once and then ever more rarely; another one is said at once, and so is the first after a join."""
        self.connector.start()
        for error in [*[None] * 9, DNSLookupError()]:
            self.server.refuse(error)
            self.clock.advance(30)
        said = [event["what"] for event in self.events if "what" in event and event["log_level"] is LogLevel.warn]
        self.assertEqual(said[1:4], [f"{said[0].partition('; ')[0]} ({times} times in a row)" for times in (2, 4, 8)])
        self.assertIn("the name cannot be resolved", said[4])
        self.assertEqual(len(said), 5)
        self.accept()
        self.say(JOINED.encode())
        self.lose()
        self.clock.advance(30)
        self.server.refuse(DNSLookupError())
        self.assertEqual([event["what"] for event in self.events if "what" in event][-1], said[4])

    # -- attempts that fail

    def test_unreachable(self) -> None:
        self.connector.start()
        self.server.refuse(ConnectError(errno.ECONNREFUSED))
        self.failed("the connection was refused: nothing listens at that address; check host and port")

    def test_refused(self) -> None:
        """A refusal by status is a line in the log and a later attempt, not the end."""
        for credentials, status, words in [
            (None, Status.UNAUTHORIZED, "unauthorized (status 2); it asks for a user and password; give them with --auth-file"),
            (Credentials("ada", "swordfish"), Status.UNAUTHORIZED, "does not know the user ada with this password"),
            (None, Status.FORBIDDEN, "do not allow a client without a user to bind it"),
            (Credentials("ada", "swordfish"), Status.FORBIDDEN, "do not allow the user ada to bind it"),
            (None, Status.INTERNAL_SERVER_ERROR, "(status 8); it has failed; check its log"),
        ]:
            with self.subTest(words=words):
                self.setUp()
                self.make(credentials=credentials)
                self.connector.start()
                self.accept()
                self.say(Response(status=status).encode())
                self.failed("the server refused: ", words)

    def test_not_a_tunnel_listener(self) -> None:
        for answer, words in [
            (b"\x15\x03\x03\x00\x02\x02\x0a", "the server speaks TLS here; use tls:// (tunnel+tls://)"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "the server speaks HTTP here; use ws:// (tunnel+ws://)"),
            (b"SSH-2.0-OpenSSH\r\n", "the server's answer is malformed"),
        ]:
            with self.subTest(answer=answer):
                self.setUp()
                self.connector.start()
                self.accept()
                self.say(answer)
                self.lose()
                self.failed(words)

    def test_silent_server(self) -> None:
        self.connector.start()
        self.accept()
        self.clock.advance(15)
        self.settle()
        self.assertTrue(aborted(self.server.transport))
        self.failed("the server did not answer within 15 s; ")

    def test_server_hangs_up(self) -> None:
        self.connector.start()
        self.accept()
        self.lose()
        self.failed(CLOSED_EARLY)

    def test_server_resets(self) -> None:
        self.connector.start()
        self.accept()
        self.server.pipe.break_link()
        self.failed("the connection was lost (", "has failed, check its log")

    # -- losses and ends

    def test_comes_back(self) -> None:
        """A link that lived resets the waits, one that did not does not."""
        self.join()
        self.clock.advance(11)
        self.lose()
        self.assertFalse(self.connector.joined)
        (again,) = self.attempts_planned()
        self.assertEqual(again - self.clock.seconds(), 0.5)
        self.clock.advance(0.5)
        self.accept()
        self.say(JOINED.encode())
        self.lose()
        (again,) = self.attempts_planned()
        self.assertEqual(again - self.clock.seconds(), 1.0)
        self.assertEqual((self.stats.joins, self.stats.losses), (2, 2))

    def test_stops_while_waiting(self) -> None:
        self.connector.start()
        self.server.refuse()
        self.successResultOf(self.connector.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stops_while_connecting(self) -> None:
        self.connector.start()
        self.successResultOf(self.connector.stop())
        self.assertEqual((self.server.cancelled, self.clock.getDelayedCalls()), (1, []))

    def test_stops_while_asking(self) -> None:
        self.connector.start()
        self.accept()
        gone = self.connector.stop()
        self.settle()
        self.successResultOf(gone)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stops_while_joined(self) -> None:
        """The link is closed cleanly, and that is the end."""
        self.join()
        gone = self.connector.stop()
        self.assertNoResult(gone)
        self.settle()
        self.assertTrue(closed(self.server.transport))
        self.successResultOf(gone)
        self.assertEqual(self.attempts_planned(), [])
