"""What requests really look like, and what becomes of them when a filter takes them: bytes of visitors in, bytes of targets out."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1_templates import LEARN_AFTER
from tests.server.harness import HttpCase, Visitor, World, all_worlds

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
LAPTOPS = {
    "alice": ["header:X-User=alice"],
    "equal": ["header:X-Value=a:b=c,d\\;e"],
    "empty": ["header:X-Empty="],
    "utf8": ["header:X-Name=Zoë", "query:name=Zoë"],
    "dots": ["header:X-Dots=a.b"],
    "cookie": ["cookie:debug=alice"],
    "session": ["baggage:rtunnel-session=bob"],
    "path": ["path=/a/b", "path^=/caf\u00e9"],
}
TAKEN = (
    # who takes a request with this target and these fields; "pod" for nobody
    ("alice", "/", "X-User: alice"),
    ("alice", "/", "x-uSeR:alice"),
    ("alice", "/", "X-User: bob", "X-User: alice"),
    ("pod", "/", "X-User: Alice"),
    ("pod", "/", "X-User: alice, alice"),
    ("pod", "/", "X-User: alicea"),
    ("pod", "/", "X-Users: alice"),
    ("equal", "/", "X-Value: a:b=c,d;e"),
    ("empty", "/", "X-Empty:"),
    ("pod", "/", "X-Empty: x"),
    ("utf8", "/", "X-Name: Zoë"),
    ("utf8", "/?name=Zo%C3%AB"),
    ("dots", "/", "X-Dots: a.b"),
    ("pod", "/", "X-Dots: axb"),
    ("cookie", "/", "Cookie: long=" + "x" * 8000 + "; debug=alice"),
    ("cookie", "/", "Cookie: a=b", "Cookie: debug=alice"),
    ("pod", "/", "Cookie: debug=bob; debug=alice"),
    ("pod", "/", "Cookie: xdebug=alice"),
    ("session", "/", "baggage: a=b;p=1 , rtunnel-session = bob ;p=2"),
    ("session", "/", "baggage: rtunnel-session=b%6Fb"),
    ("pod", "/", "baggage: rtunnel-session=bobby"),
    ("pod", "/", "baggage: xrtunnel-session=bob"),
    ("path", "/a/b"),
    ("path", "/a/%62"),
    ("pod", "/a//b"),
    ("pod", "/x/../a/b"),
    ("path", "/caf%C3%A9/x"),
    ("pod", "/a/b/c"),
    ("pod", "/", "X-User: alice", "User-Agent: kube-probe/1.30"),
    ("pod", "/", "X-User: alice", "User-Agent: ELB-HealthChecker/2.0"),
    ("pod", "/", "X-User: alice", "User-Agent: GoogleHC/1.0"),
)
TRACE = (
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
    "baggage: userId=alice;p=1,serverNode=DF%2028",
    "baggage: second=line",
)


def request(target: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: pod.local", *fields, "", "")).encode()


class HeadTests(SynchronousTestCase):
    """Which of several laptops a head goes to."""

    def check(self, *, learned: bool) -> None:
        world = World(self, learned=learned)
        connectors = {"pod": world.attach(), **{name: world.attach(filters=filters) for name, filters in LAPTOPS.items()}}
        visitor = world.visit()
        for _ in range(LEARN_AFTER + 2 if learned else 1):
            for who, target, *fields in TAKEN:
                visitor.send(request(target, *fields))
                took = {name for name, one in connectors.items() if any(stream.take() for stream in one.streams)}
                self.assertEqual(took, {who}, (target, fields))
                connectors[who].stream.answer(OK)
        if learned:
            self.assertLess(world.parsed_requests, LEARN_AFTER * len(TAKEN) + len(TAKEN), "templates have taken some")

    def test_read_whole(self) -> None:
        self.check(learned=False)

    def test_read_by_templates(self) -> None:
        """What was seen before is not parsed, and goes to the same."""
        self.check(learned=True)


class ConversationTests(HttpCase):
    """What is more than a request and a response, with a laptop whose filter matches."""

    def setUp(self) -> None:
        super().setUp()
        self.pod = self.world.attach()
        self.laptop = self.world.attach(filters=["header:X-User=alice", "cookie:rtunnel-session=alice"])
        self.world.unusual(requests=1)

    def ask(self, data: bytes) -> Visitor:
        visitor = self.world.visit(data)
        self.assertEqual(self.pod.streams, [])
        return visitor

    def test_upgrade(self) -> None:
        """An upgraded connection stays where its request went, however long, and whoever leaves or comes."""
        visitor = self.ask(request("/ws", "X-User: alice", "Connection: Upgrade", "Upgrade: echo"))
        self.world.unusual(answers=1)
        self.laptop.stream.answer(SWITCH)
        self.world.pass_time(600)
        self.world.attach(255)
        visitor.send(b"still there")
        self.assertIn(b"still there", self.laptop.stream.take())
        self.laptop.stream.answer(b"yes")
        self.assertTrue(visitor.received.endswith(b"yes"))

    def test_events(self) -> None:
        """Server-sent events arrive as they come."""
        visitor = self.ask(request("/events", "X-User: alice"))
        self.world.unusual(answers=1)
        self.laptop.stream.answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            self.laptop.stream.answer(b"9\r\ndata: %d\n\n\r\n" % number)
            self.assertTrue(visitor.received.endswith(b"data: %d\n\n\r\n" % number))
            self.world.pass_time(60)
        self.laptop.stream.answer(b"0\r\n\r\n")

    def test_continue(self) -> None:
        visitor = self.ask(request("/", "X-User: alice", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        self.world.unusual(answers=1)
        self.laptop.stream.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(visitor.received, b"HTTP/1.1 100 Continue\r\n\r\n")
        visitor.send(b"abc")
        self.assertTrue(self.laptop.stream.take().endswith(b"abc"))
        self.laptop.stream.answer(OK)

    def test_failover(self) -> None:
        """A laptop that does not answer: what may be sent twice goes to the pod."""
        visitor = self.ask(request("/", "X-User: alice"))
        self.laptop.stream.close()
        self.pod.stream.answer(OK)
        self.assertIn(b" 200 ", visitor.received)

    def test_no_failover(self) -> None:
        """What must not be sent twice does not."""
        visitor = self.ask(request("/", "X-User: alice", "Content-Length: 1", method="POST") + b"x")
        self.laptop.stream.close()
        self.assertIn(b" 502 ", visitor.received)
        self.assertEqual(self.pod.streams, [])

    def test_trace_context(self) -> None:
        """What services say to each other passes unchanged, but for the session, which goes into the first field of its kind."""
        self.ask(request("/", "X-User: alice", *TRACE))
        sent = self.laptop.stream.take().decode()
        for line in TRACE:
            self.assertIn(f"\r\n{line}\r\n", sent)
        self.laptop.stream.answer(OK)
        self.world.unusual(requests=1)
        self.ask(request("/", "Cookie: rtunnel-session=alice", *TRACE))
        sent = self.laptop.stream.take().decode()
        for line in (*TRACE[:2], f"{TRACE[2]},rtunnel-session=alice", TRACE[3]):
            self.assertIn(f"\r\n{line}\r\n", sent)


globals().update(all_worlds(ConversationTests))
