"""Watching the streams of a client: passed on unread, and read."""

from __future__ import annotations

from twisted.internet.error import ConnectError

from rtunnel.client.shares import TunnelView
from rtunnel.client.watch import LONG, Watch, _text
from rtunnel.client.watch_lines import Seen, WatchLines
from rtunnel.settings import Address, ConnectorSettings, ForwardSettings
from rtunnel.wire.control import Member, Share
from rtunnel.wire.relay import RelayAddress, stream_preface
from tests.client.harness import PREFACE, ForwarderCase
from tests.support.ids import TUNNEL
from tests.support.logs import logged

GET = b"GET /cart?token=1 HTTP/1.1\r\nHost: pod.local\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 2\r\n\r\nok"


class WatchCase(ForwarderCase):
    """A stream, what is seen of it, and what is known of its tunnel."""

    udp = False

    def setUp(self) -> None:
        super().setUp()
        self.seen: list[Seen] = []
        self.sums: list[str] = []
        self.watch = Watch(WatchLines(self.seen.append, self.sums.append), self.clock, wall=lambda: 1000.0 + self.clock.seconds())
        self.watch.start()
        self.addCleanup(self.watch.stop)
        target = Address("localhost", 80)
        settings = ConnectorSettings(server=Address("s", 1), tunnel=TUNNEL, target=target)
        self.view = TunnelView(settings)
        self.forwarder.watch = self.watch.connector(settings, self.view)

    def know(self, share: Share, *others: Member) -> None:
        for other in others:
            self.view.hear(other)
        self.view.hear(share)

    def ask(self, request: bytes = GET) -> None:
        self.send(PREFACE + request)
        self.target.accept()
        self.turn()

    def shown(self) -> list[str]:
        """The lines since the last call, without their times."""
        lines = [f"{one.what} {one.place} {one.result} {one.more}".strip() for one in self.seen]
        self.seen.clear()
        return lines


class RequestTests(WatchCase):
    def test_a_request(self) -> None:
        """When all of its response was passed on; a query may hold secrets."""
        self.ask()
        self.clock.advance(0.25)
        self.say(OK[:-1])
        self.assertEqual(self.seen, [])
        self.say(OK[-1:])
        (one,) = self.seen
        self.assertEqual((one.at, one.seconds), (1000.0, 0.25))
        self.assertEqual(self.shown(), ["GET /cart?... 200"])
        self.assertEqual(self.received, OK)

    def test_one_after_another(self) -> None:
        self.ask()
        self.say(OK)
        self.send(b"POST /b HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 1\r\n\r\nx")
        self.say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.shown(), ["GET /cart?... 200", "POST /b 404"])

    def test_who_would_have_had_it(self) -> None:
        self.know(Share(1, 2, 1), Member("pod/shop", "weight 1", 1))
        self.ask()
        self.say(OK)
        self.assertEqual(self.shown(), ["GET /cart?... 200 else pod/shop"])

    def test_several_hosts(self) -> None:
        """Then a path alone says too little."""
        self.know(Share(1, 1, hosts="*.local, b.local"))
        self.ask()
        self.say(OK)
        self.assertEqual(self.shown(), ["GET pod.local/cart?... 200 else nobody"])

    def test_hostile_paths(self) -> None:
        """Not more of them than can be read, and as they came: nothing is decoded."""
        self.ask(b"GET /%1b[2J" + b"x" * 2000 + b" HTTP/1.1\r\nHost: pod.local\r\n\r\n")
        self.say(OK)
        (one,) = self.seen
        self.assertTrue(one.place.startswith("/%1b[2Jxxx") and one.place.endswith("x..."), one.place)
        self.assertLess(len(one.place), 600)

    def test_bytes_that_are_no_text(self) -> None:
        self.assertEqual(_text(b"/\xc3\xa9\x1b\xff"), "/\u00e9\\x1b\\xff")

    def test_target_refuses(self) -> None:
        """The server sends it to another one, which is named."""
        self.know(Share(1, 2, 1), Member("pod/shop", "weight 1", 1))
        self.send(PREFACE + GET)
        self.target.refuse(ConnectError())
        self.turn()
        self.assertEqual(self.shown(), ["GET /cart?... target not reached else pod/shop"])

    def test_target_breaks_off(self) -> None:
        self.ask()
        self.say(OK[:-1])
        self.target.pipe.break_link()
        self.turn()
        self.assertEqual(self.shown(), ["GET /cart?... 200 target broke off"])

    def test_visitor_leaves(self) -> None:
        self.ask()
        self.server.abort(self.stream)
        self.turn()
        self.assertEqual(self.shown(), ["GET /cart?... visitor left"])

    def test_upgrade(self) -> None:
        self.ask(b"GET /ws HTTP/1.1\r\nHost: pod.local\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.say(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        self.say(b"\x81\x00")
        self.assertEqual(self.shown(), ["GET /ws 101 websocket"])

    def test_takes_long(self) -> None:
        """A line says how far it is, and one how it ended."""
        self.ask()
        for _ in range(int(LONG) + 1):
            self.clock.advance(1)
        self.assertEqual(self.shown(), ["GET /cart?... no answer yet"])
        self.say(OK[:-1])
        self.clock.advance(10)
        self.say(OK[-1:])
        self.assertEqual(self.shown(), ["GET /cart?... 200"])
        self.send(GET)
        self.say(OK[:-1])
        for _ in range(int(LONG) + 1):
            self.clock.advance(1)
        self.assertEqual(self.shown(), ["GET /cart?... 200 going on"])

    def test_many(self) -> None:
        self.ask()
        self.say(OK)
        for _ in range(30):
            self.send(GET)
            self.say(OK)
        self.clock.advance(1)
        self.assertEqual((len(self.shown()), self.sums), (20, ["11 more in a second: 11 x 200"]))

    def hints(self, answer: bytes) -> list[str]:
        with logged() as lines:
            self.send(GET)
            self.say(answer)
        return [line for line in lines if "parts of one page" in line]

    def test_pages_of_two_versions(self) -> None:
        """Said once, when a page comes from a client that shares with others, and stays in the log."""
        self.ask()
        self.say(PAGE)
        self.know(Share(255, 255, 1), Member("pod/shop", "weight 1", 1))
        self.assertEqual(self.hints(PAGE), [])
        self.know(Share(1, 2, 1, sticky=True), Member("pod/shop", "weight 1", 1))
        self.assertEqual(self.hints(PAGE), [])
        self.know(Share(1, 2, 1), Member("pod/shop", "weight 1", 1))
        self.assertEqual(self.hints(OK), [])
        (hint,) = self.hints(PAGE)
        for word in ("--weight 255", "--intercept", "--session", "--sticky"):
            self.assertIn(word, hint)
        self.assertEqual(self.hints(PAGE), [])


class ReadRequestTests(RequestTests):
    """The same where the client reads the requests anyway."""

    settings = ForwardSettings(set_headers=(("X-A", "b"),))

    def test_a_request(self) -> None:
        self.ask()
        self.clock.advance(0.25)
        self.say(OK[:-1])
        self.say(OK[-1:])
        self.assertEqual([one.seconds for one in self.seen], [0.25])
        self.assertEqual(self.shown(), ["GET /cart?... 200"])

    def test_malformed(self) -> None:
        self.send(PREFACE + b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        self.assertIn(b"400", self.received)


class NoTargetTests(WatchCase):
    targets = "localhost:80?path=/other"

    def test_no_target(self) -> None:
        """The client's own answer."""
        self.send(PREFACE + GET)
        self.assertIn(b"404", self.received)
        self.assertEqual(self.shown(), ["GET /cart?... 404"])


class ConnectionTests(WatchCase):
    """What is no HTTP."""

    def connection(self, *data: bytes) -> None:
        self.send(stream_preface(RelayAddress("192.0.2.1", 4711), RelayAddress("db.svc", 5432)))
        self.target.accept()
        self.turn()
        for piece in data:
            self.send(piece)

    def test_protocols(self) -> None:
        for data, name in [(b"\x16\x03\x01\x00", "TLS"), (b"SSH-2.0-x\r\n", "SSH"), (b"\x00\x00\x00\x08", "TCP")]:
            self.connection(data)
            self.say(b"yes")
            self.finish()
            (line,) = self.shown()
            self.assertEqual(line, f"{name} 192.0.2.1:4711 -> db.svc:5432 ended {len(data):,} bytes in, 3 out")
            self.stream = self.server.open()

    def finish(self) -> None:
        """Both sides have said all."""
        self.server.finish(self.stream)
        self.turn()
        self.target.peer.transport.loseConnection()
        self.turn()

    def test_the_target_speaks_first(self) -> None:
        """As a database does; nothing waits for the visitor to say what it speaks."""
        self.connection()
        self.say(b"hello")
        self.assertEqual(self.received, b"hello")
        self.finish()
        self.assertEqual(self.shown(), ["TCP 192.0.2.1:4711 -> db.svc:5432 ended 0 bytes in, 5 out"])

    def test_takes_long(self) -> None:
        self.connection(b"\x00\x00")
        for _ in range(int(LONG) + 2):
            self.clock.advance(1)
        self.assertEqual(self.shown(), ["TCP 192.0.2.1:4711 -> db.svc:5432 going on"])

    def test_http_that_cannot_be_followed(self) -> None:
        """It is passed on all the same."""
        self.ask(GET)
        self.say(b"nonsense\r\n\r\n")
        self.assertEqual(self.received, b"nonsense\r\n\r\n")
        self.finish()
        (line,) = self.shown()
        self.assertTrue(line.startswith("HTTP 192.0.2.1:4711 -> pod.local:80 ended"), line)

    def test_an_error_of_ours(self) -> None:
        """Ends the watching of that stream, and nothing else."""
        self.patch(WatchLines, "add", lambda lines, seen: 1 / 0)
        self.ask(GET)
        self.say(OK)
        self.assertEqual(self.received, OK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.send(GET)
        self.say(OK)
        self.assertEqual(self.received, OK + OK)


class DatagramTests(WatchCase):
    def test_datagrams(self) -> None:
        """Whatever they contain."""
        self.forwarder.watch._datagrams = True  # type: ignore[union-attr]
        self.send(PREFACE + GET)
        self.target.accept()
        self.turn()
        for _ in range(int(LONG) + 2):
            self.clock.advance(1)
        self.assertEqual(self.shown(), ["UDP 192.0.2.1:4711 -> pod.local:80 going on"])


class UnwatchedTests(ForwarderCase):
    def test_nobody_watches(self) -> None:
        """Then a stream has sides that know nothing of it."""
        self.send(PREFACE + GET)
        self.target.accept()
        self.turn()
        (stream,) = self.forwarder.open
        self.assertEqual({type(side).__name__ for side in (stream._splice.near, stream._splice.far)}, {"Side"})  # type: ignore[union-attr]
