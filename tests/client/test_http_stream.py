"""Streams that the client looks into, over a real link, with targets that the test plays."""

from __future__ import annotations

from itertools import cycle

from hypothesis import given, settings
from hypothesis import strategies as st

from rtunnel.client.dialing import Dialer
from rtunnel.client.http_forwarder import needs_http
from rtunnel.options.targets import TARGETS
from rtunnel.outcomes import StreamOutcome
from rtunnel.settings import ForwardSettings
from rtunnel.wire.relay import RelayAddress, stream_preface
from rtunnel.wire.smux import BROKEN, FINISHED, REFUSED, STOPPED
from tests.client.harness import PREFACE, ForwarderCase, PlayedEndpoint, aborted, closed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path: str, host: str = "pod.local") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class LookingCase(ForwarderCase):
    def at(self, name: str) -> PlayedEndpoint:
        return self.all_targets[f"{name}:80"]

    def dialed(self) -> str:
        """Whom the client is connecting to."""
        return " ".join(name.partition(":")[0] for name, target in self.all_targets.items() if target.waiting)

    def reaches(self, name: str) -> bytes:
        """Have a target accept the connection that it is asked for; returns what it got since."""
        self.assertEqual(self.dialed(), name)
        self.at(name).accept()
        self.turn()
        return self.got(name)

    def got(self, name: str) -> bytes:
        return self.at(name).peer.take()

    def says(self, name: str, data: bytes) -> None:
        self.at(name).peer.transport.write(data)
        self.turn()

    def closes(self, name: str) -> None:
        self.at(name).peer.transport.loseConnection()
        self.turn()

    def breaks(self, name: str) -> None:
        self.at(name).pipe.break_link()
        self.turn()

    def took(self) -> bytes:
        return self.end.received.pop(self.stream, b"")

    def ends(self, outcome: StreamOutcome) -> None:
        self.turn()
        self.assertEqual(self.outcomes(), {outcome: 1})
        self.assertEqual(len(self.forwarder.open), 0)


class LooksTests(LookingCase):
    def test_only_where_it_has_to(self) -> None:
        """Without filters of path or protocol, and without changes, the client never looks at what passes."""
        plain = ForwardSettings()
        for targets, how, looking in [
            ("a:80,b:80", plain, False),
            ("a:80?host=a.org,b:80", plain, False),
            ("a:80", ForwardSettings(proxy_protocol=2), False),
            ("a:80?path=/a", plain, True),
            ("a:80?protocol=tls,b:80", plain, True),
            ("a:80", ForwardSettings(set_host="b"), True),
            ("a:80", ForwardSettings(as_local=True), True),
            ("a:80", ForwardSettings(remove_headers=("A",)), True),
        ]:
            self.assertEqual(needs_http(TARGETS.parse(targets), how), looking, targets)


class HostTests(LookingCase):
    """Chosen by the host that the server names; nothing is looked into."""

    targets = "a:80?host=a.org,below:80?host=*.a.org,rest:80?host=rest.org"

    def visits(self, host: str) -> None:
        self.setUp()
        self.send(stream_preface(RelayAddress("192.0.2.1", 1), RelayAddress(host, 443)))

    def test_chosen(self) -> None:
        for host, name in [("a.org", "a"), ("A.ORG.", "a"), ("b.a.org", "below"), ("rest.org", "rest")]:
            self.visits(host)
            self.assertEqual(self.dialed(), name)

    def test_none(self) -> None:
        self.visits("other.org")
        self.assertEqual(self.dialed(), "")
        self.assertIn(FINISHED, self.signals)
        self.ends(StreamOutcome.NO_TARGET)


class ProtocolTests(LookingCase):
    """Chosen by the first bytes; then everything passes as it came."""

    targets = "web:80?protocol=http,secure:80?protocol=tls,rest:80"

    def test_chosen(self) -> None:
        for data, name in [
            (b"GET / HTTP/1.1\r\n", "web"),
            (b"\x16\x03\x01\x00", "secure"),
            (b"EHLO me\r\n", "rest"),
            (b"\0", "rest"),
        ]:
            self.setUp()
            self.send(PREFACE)
            self.assertEqual(self.dialed(), "")
            for byte in data:
                self.send(bytes([byte]))
            self.assertEqual(self.reaches(name), data)
            self.send(b"more")
            self.assertEqual(self.got(name), b"more")
            self.says(name, b"answer")
            self.assertEqual(self.took(), b"answer")

    def test_target_speaks_first(self) -> None:
        """A visitor that waits is let through when its time is over."""
        self.send(PREFACE)
        self.clock.advance(4.9)
        self.assertEqual(self.dialed(), "")
        self.clock.advance(0.1)
        self.reaches("rest")
        self.says("rest", b"220 hello\r\n")
        self.assertEqual(self.took(), b"220 hello\r\n")

    def test_visitor_says_little(self) -> None:
        """The end of what a visitor says is passed on, too."""
        self.send(PREFACE + b"GET")
        self.server.finish(self.stream)
        self.turn()
        self.assertEqual(self.reaches("rest"), b"GET")
        self.assertTrue(self.at("rest").peer.read_ended)

    def test_visitor_leaves(self) -> None:
        """Before it said anything: nobody is dialed."""
        self.send(PREFACE)
        self.server.abort(self.stream)
        self.turn()
        self.assertEqual(self.dialed(), "")
        self.ends(StreamOutcome.VISITOR_LOST)

    def test_link_lost(self) -> None:
        self.send(PREFACE + b"GET")
        self.wire.break_link()
        self.turn()
        self.ends(StreamOutcome.VISITOR_LOST)

    def test_none(self) -> None:
        self.targets = "web:80?protocol=http"
        self.setUp()
        self.send(PREFACE + b"\x16\x03\x01")
        self.assertEqual(self.took(), b"")
        self.ends(StreamOutcome.NO_TARGET)


class PathTests(LookingCase):
    """Chosen by the path of each request."""

    targets = "api:80?path=/api/,web:80?path=/,secure:80?protocol=tls"

    def exchange(self, path: str, name: str, *, dials: bool) -> None:
        self.send(get(path))
        if dials:
            self.assertEqual(self.reaches(name), get(path))
        else:
            self.assertEqual((self.dialed(), self.got(name)), ("", get(path)))
        self.says(name, OK)
        self.assertEqual(self.took(), OK)

    def test_each_request_by_itself(self) -> None:
        """Also on one stream; connections to the targets stay for the requests that follow."""
        self.send(PREFACE)
        self.exchange("/", "web", dials=True)
        self.exchange("/api/1", "api", dials=True)
        self.exchange("/apis", "web", dials=False)
        self.exchange("/%61pi/2?x=/", "api", dials=False)
        self.server.finish(self.stream)
        self.ends(StreamOutcome.DONE)
        for name in ("web", "api"):
            self.assertTrue(closed(self.at(name).transport))

    def test_byte_by_byte(self) -> None:
        request = b"POST /api/x HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 4\r\n\r\nbody"
        for byte in PREFACE + request:
            self.send(bytes([byte]))
            if self.dialed():
                self.at("api").accept()
        self.assertEqual(self.got("api"), request)
        for byte in OK:
            self.says("api", bytes([byte]))
        self.assertEqual(self.took(), OK)

    def test_pipelined(self) -> None:
        """A request that comes before the one before it is answered waits, and so do its bytes."""
        self.send(PREFACE + get("/api/1") + get("/2") + get("/api/3"))
        self.assertEqual(self.reaches("api"), get("/api/1"))
        self.assertEqual(self.dialed(), "")
        self.says("api", OK)
        self.assertEqual(self.reaches("web"), get("/2"))
        self.says("web", OK)
        self.assertEqual(self.got("api"), get("/api/3"))
        self.says("api", OK)
        self.assertEqual(self.took(), OK * 3)

    def test_pipelined_without_end(self) -> None:
        """Requests that are not answered yet are not taken either."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        for _ in range(40):
            self.send(get("/") * 1000)
        held = sum(len(getattr(one, "_buffer", b"")) for one in self.forwarder.open)
        self.assertLess(held, 200_000)

    def test_chunks(self) -> None:
        """Bodies pass as they came, both ways, and the next request is found behind them."""
        body = b"3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n"
        request = b"POST /api/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.send(PREFACE + request + body[:7])
        self.reaches("api")
        self.send(body[7:] + get("/"))
        self.assertEqual(self.got("api"), body[7:])
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.says("api", answer + body[:9])
        self.says("api", body[9:])
        self.assertEqual(self.took(), answer + body)
        self.assertEqual(self.reaches("web"), get("/"))

    def test_interim_answers(self) -> None:
        request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
        self.send(PREFACE + request)
        self.assertEqual(self.reaches("web"), request)
        self.says("web", b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(self.took(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.send(b"x")
        self.assertEqual(self.got("web"), b"x")
        self.says("web", OK)
        self.assertEqual(self.took(), OK)

    def test_upgrade(self) -> None:
        """From there on both sides speak something else, and half-close passes."""
        request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        self.send(PREFACE + request)
        self.assertEqual(self.reaches("web"), request)
        agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        self.says("web", agreed + b"\x81\x00")
        self.assertEqual(self.took(), agreed + b"\x81\x00")
        self.send(b"GET / nothing of HTTP")
        self.assertEqual(self.got("web"), b"GET / nothing of HTTP")
        self.says("web", b"\x88\x00")
        self.assertEqual(self.took(), b"\x88\x00")
        self.server.finish(self.stream)
        self.turn()
        self.assertTrue(self.at("web").peer.read_ended)
        self.at("web").peer.transport.loseWriteConnection()
        self.ends(StreamOutcome.DONE)
        self.assertEqual(self.stats.bytes_in, len(request) + 21)
        self.assertEqual(self.stats.bytes_out, len(agreed) + 4)

    def test_no_target(self) -> None:
        self.targets = "api:80?path=/api/"
        for request, has_body in [(get("/other"), True), (get("/other").replace(b"GET", b"HEAD"), False)]:
            self.setUp()
            self.send(PREFACE + request)
            answer = self.took()
            self.assertTrue(answer.startswith(b"HTTP/1.1 404 Not found\r\n"), answer)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertEqual(answer.endswith(b"no service is for this request\n"), has_body)
            self.assertIn(FINISHED, self.signals)
            self.ends(StreamOutcome.NO_TARGET)

    def test_target_refuses(self) -> None:
        """Without a byte, and with the word that nothing was delivered, so that the server may ask another connector."""
        self.send(PREFACE + get("/"))
        self.at("web").refuse()
        self.turn()
        self.assertEqual(self.took(), b"")
        self.assertEqual(self.signals[-3:], [REFUSED, STOPPED, FINISHED])
        self.ends(StreamOutcome.TARGET_REFUSED)

    def test_target_dies(self) -> None:
        for said in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal"):
            self.setUp()
            self.send(PREFACE + get("/"))
            self.reaches("web")
            if said:
                self.says("web", said)
            self.breaks("web")
            # what has no whole head is not passed on
            self.assertEqual(self.took(), said if b"\r\n\r\n" in said else b"")
            self.assertLess(self.signals.index(BROKEN), self.signals.index(FINISHED))
            self.ends(StreamOutcome.TARGET_LOST)

    def test_target_dies_between_requests(self) -> None:
        """A connection that its target closed while nothing was asked is not used again."""
        self.send(PREFACE)
        self.exchange("/", "web", dials=True)
        self.closes("web")
        self.exchange("/", "web", dials=True)

    def test_target_closes_behind_its_answer(self) -> None:
        """That is between it and us: the stream goes on."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(self.took(), OK)
        self.assertTrue(self.at("web").transport.disconnected)
        self.exchange("/", "web", dials=True)

    def test_answer_until_close(self) -> None:
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", b"HTTP/1.1 200 OK\r\n\r\npart")
        self.says("web", b" and the rest")
        self.closes("web")
        self.assertTrue(self.took().endswith(b"\r\nConnection: close\r\n\r\npart and the rest"))
        self.ends(StreamOutcome.DONE)

    def test_old_visitor(self) -> None:
        """HTTP/1.0 has no chunks: the answer ends with the stream."""
        self.send(PREFACE + b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        self.assertIn(b"HTTP/1.1", self.reaches("web"))
        self.says("web", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        self.assertEqual(self.took(), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok")
        self.ends(StreamOutcome.DONE)

    @property
    def web_dialer(self) -> Dialer:
        dialer = self.forwarder.choose_for("pod.local", "http", b"/")
        assert dialer is not None
        return dialer

    def each_dials(self, name: str) -> None:
        """Each request has a connection of its own from now on."""
        for _ in range(2):
            self.exchange("/", name, dials=True)
            self.assertTrue(self.at(name).transport.disconnected)

    def test_unasked(self) -> None:
        """A target that speaks without being asked is not asked again on that connection, nor twice on another one."""
        self.send(PREFACE)
        self.exchange("/api/", "api", dials=True)
        self.exchange("/", "web", dials=True)
        self.says("web", b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        self.assertEqual(self.took(), b"")
        self.assertTrue(self.at("web").transport.disconnected)
        self.each_dials("web")
        self.exchange("/api/", "api", dials=False)

    def test_more_than_the_answer(self) -> None:
        """The same in one piece with it."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", OK + OK)
        self.assertEqual(self.took(), OK)
        self.each_dials("web")

    def test_before_the_answer(self) -> None:
        """What is no answer, on a connection that carried one: the stream ends without a byte, and the server may ask again."""
        self.send(PREFACE)
        self.exchange("/", "web", dials=True)
        self.send(get("/"))
        self.says("web", b"too much\r\n\r\n")
        self.assertEqual(self.took(), b"")
        self.ends(StreamOutcome.TARGET_LOST)
        self.assertFalse(self.web_dialer.reuse)

    def test_idle_elsewhere(self) -> None:
        """A connection that another stream has kept is not used any more either."""
        self.send(PREFACE)
        self.exchange("/", "web", dials=True)
        self.web_dialer.stop_reuse()
        self.each_dials("web")

    def test_answer_that_nobody_waits_for(self) -> None:
        """What comes while the stream closes is no fault of the target."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.end.session.abort(self.stream)
        self.says("web", OK)
        self.turn()
        self.assertTrue(self.web_dialer.reuse)

    def test_malformed_request(self) -> None:
        for request in (
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        ):
            self.setUp()
            self.send(PREFACE + request)
            self.assertRegex(self.took(), rb"^HTTP/1.1 4[03][01] Bad request")
            self.assertEqual(self.dialed(), "")
            self.ends(StreamOutcome.BAD_REQUEST)

    def test_malformed_chunk(self) -> None:
        self.send(PREFACE + b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.reaches("web")
        self.send(b"x\r\n")
        self.assertTrue(self.took().startswith(b"HTTP/1.1 400 "))
        self.ends(StreamOutcome.BAD_REQUEST)
        self.assertTrue(aborted(self.at("web").transport))

    def test_malformed_answer(self) -> None:
        unasked = b"HTTP/1.1 101 X\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n"
        for answer in (b"SSH-2.0-x\r\n", unasked, b"HTTP/1.1 200 OK\r\n" + b"A" * 70000):
            self.setUp()
            self.send(PREFACE + get("/"))
            self.reaches("web")
            self.says("web", answer)
            self.assertEqual(self.took(), b"")
            self.ends(StreamOutcome.TARGET_LOST)

    def test_visitor_leaves(self) -> None:
        """In the middle of an answer: the target's connection is freed at once."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf")
        self.server.abort(self.stream)
        self.ends(StreamOutcome.VISITOR_LOST)
        self.assertTrue(self.at("web").transport.disconnected)

    def test_visitor_leaves_while_dialing(self) -> None:
        self.send(PREFACE + get("/"))
        self.server.abort(self.stream)
        self.ends(StreamOutcome.VISITOR_LOST)
        self.assertEqual(self.at("web").cancelled, 1)

    def test_visitor_ends_in_a_body(self) -> None:
        """Half a request must not look like a whole one."""
        self.send(PREFACE + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        self.reaches("web")
        self.server.finish(self.stream)
        self.ends(StreamOutcome.VISITOR_LOST)
        self.assertTrue(aborted(self.at("web").transport))

    def test_visitor_half_closes(self) -> None:
        """Who has said all gets the answers to all of it."""
        self.send(PREFACE + get("/") + get("/api/"))
        self.server.finish(self.stream)
        self.turn()
        self.reaches("web")
        self.says("web", OK)
        self.reaches("api")
        self.says("api", OK)
        self.assertEqual(self.took(), OK * 2)
        self.ends(StreamOutcome.DONE)

    def test_link_lost(self) -> None:
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.wire.break_link()
        self.turn()
        self.assertTrue(aborted(self.at("web").transport))
        self.assertEqual(self.outcomes(), {StreamOutcome.VISITOR_LOST: 1})

    def test_server_does_not_read(self) -> None:
        """What the server does not take stops the target."""
        self.end.consume = False
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 1_000_000)
        self.assertFalse(self.at("web").transport.reading)
        self.assertGreater(self.at("web").peer.transport.waiting, 500_000)

    def test_the_last_piece_of_an_answer_leaves_no_target_paused(self) -> None:
        """Its connection serves the next request, and the stream that paused it is its consumer no more."""
        self.end.consume = False
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.says("web", b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"x" * 400_000)
        self.assertFalse(self.at("web").transport.reading)
        while self.end.received.get(self.stream):
            self.server.consumed(self.stream, len(self.took()))
            self.turn()
        self.assertTrue(self.at("web").transport.reading)

    def test_target_does_not_read(self) -> None:
        """What the target does not take stops the server after a window; and a target that takes it goes on."""
        self.send(PREFACE + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n")
        self.reaches("web")
        self.at("web").peer.transport.pauseProducing()
        self.send(b"x" * 5_000_000)
        self.assertLess(self.at("web").transport.waiting, 2_000_000)
        self.at("web").peer.transport.resumeProducing()
        self.turn()
        self.assertEqual(len(self.got("web")), 5_000_000)
        self.says("web", OK)
        self.assertEqual(self.took(), OK)

    def test_stands_still(self) -> None:
        """A stream whose reader is gone without saying so is given up."""
        self.test_server_does_not_read()
        self.server.finish(self.stream)
        self.turn()
        self.clock.pump([10.0] * 4)
        self.turn()
        self.assertTrue(self.at("web").transport.disconnected)
        self.assertEqual(self.outcomes(), {StreamOutcome.VISITOR_LOST: 1})

    def test_activity(self) -> None:
        """A stream whose target owes an answer is active; one that waits for the next request is not."""
        self.send(PREFACE + get("/"))
        self.reaches("web")
        self.assertTrue(self.forwarder.poll_activity())
        self.assertTrue(self.forwarder.poll_activity())
        self.says("web", OK)
        self.assertTrue(self.forwarder.poll_activity())
        self.assertFalse(self.forwarder.poll_activity())

    def test_not_http(self) -> None:
        self.send(PREFACE + b"\x16\x03\x01")
        self.assertEqual(self.reaches("secure"), b"\x16\x03\x01")

    def test_stopped(self) -> None:
        self.send(PREFACE)
        self.exchange("/", "web", dials=True)
        for stream in list(self.forwarder.open):
            stream.abort()
        self.turn()
        self.assertIn(STOPPED, self.signals)


class RewriteTests(LookingCase):
    targets = "web:80"
    settings = ForwardSettings(set_host="inside.local", set_headers=(("X-Team", "blue green"),), remove_headers=("Cookie",))

    def test_each_request(self) -> None:
        """Every request of a stream is changed; answers and bodies pass."""
        self.send(PREFACE)
        wanted = b"POST /a HTTP/1.1\r\nHost: inside.local\r\nContent-Length: 2\r\nX-Team: blue green\r\n\r\nhi"
        for first in (True, False):
            self.send(b"POST /a HTTP/1.1\r\nHost: pod.local\r\nCookie: a=b\r\nContent-Length: 2\r\n\r\nhi")
            self.assertEqual(self.reaches("web") if first else self.got("web"), wanted)
            self.says("web", OK)
            self.assertEqual(self.took(), OK)

    def test_anything_else_passes(self) -> None:
        self.send(PREFACE + b"EHLO me\r\n")
        self.assertEqual(self.reaches("web"), b"EHLO me\r\n")


class AsLocalTests(LookingCase):
    """Each target sees requests to itself, and each visitor answers of its own place."""

    targets = "localhost:3000?path=/a,127.0.0.1:80?path=/b,[::1]:4000?path=/c"
    settings = ForwardSettings(as_local=True, set_headers=(("X-Team", "blue"),))

    def at(self, name: str) -> PlayedEndpoint:
        return self.all_targets[name]

    def dialed(self) -> str:
        return " ".join(name for name, target in self.all_targets.items() if target.waiting)

    def test_each_target(self) -> None:
        self.send(PREFACE)
        for path, target, host in [
            ("/a", "localhost:3000", b"localhost:3000"),
            ("/b", "127.0.0.1:80", b"127.0.0.1"),
            ("/c", "[::1]:4000", b"[::1]:4000"),
        ]:
            self.send(get(path)[:-2] + b"Origin: https://pod.local\r\n\r\n")
            self.assertEqual(
                self.reaches(target),
                b"GET %b HTTP/1.1\r\nHost: %b\r\nOrigin: http://%b\r\nX-Original-Host: pod.local\r\nX-Original-Proto: https\r\n"
                b"X-Team: blue\r\n\r\n" % (path.encode(), host, host),
            )
            self.says(target, b"HTTP/1.1 302 Found\r\nLocation: http://%b/x\r\nContent-Length: 2\r\n\r\nok" % host)
            self.assertEqual(self.took(), b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nok")

    def test_upgrade(self) -> None:
        self.send(PREFACE + get("/a")[:-2] + b"Upgrade: websocket\r\nConnection: upgrade\r\nOrigin: http://pod.local\r\n\r\n")
        self.assertIn(b"\r\nOrigin: http://localhost:3000\r\n", self.reaches("localhost:3000"))
        answer = b"HTTP/1.1 101 Switching Protocols\r\n%bUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        self.says("localhost:3000", answer % b"Set-Cookie: a=1; Domain=localhost\r\n" + b"Location: http://localhost:3000/")
        self.assertEqual(self.took(), answer % b"Set-Cookie: a=1\r\n" + b"Location: http://localhost:3000/")

    def test_set_host(self) -> None:
        """A Host that is given is the one that the target knows itself by."""
        self.settings = ForwardSettings(as_local=True, set_host="inside.local")
        self.setUp()
        self.send(PREFACE + get("/a")[:-2] + b"Referer: http://pod.local/x\r\n\r\n")
        self.assertIn(b"\r\nHost: inside.local\r\nReferer: http://inside.local/x\r\n", self.reaches("localhost:3000"))
        self.says("localhost:3000", b"HTTP/1.1 302 Found\r\nLocation: http://inside.local/x\r\nContent-Length: 0\r\n\r\n")
        self.assertIn(b"\r\nLocation: /x\r\n", self.took())


class LimitTests(LookingCase):
    """The limits of heads are the options of the connector, for requests and for responses."""

    targets = "web:80"
    settings = ForwardSettings(set_host="pod.local", head_bytes=1024, line_bytes=256, header_count=8)

    def test_requests(self) -> None:
        for fields, within in (
            (b"A: b\r\n" * 7, True),
            (b"A: b\r\n" * 8, False),
            (b"A: " + b"b" * 253 + b"\r\n", True),
            (b"A: " + b"b" * 254 + b"\r\n", False),
            ((b"A: " + b"b" * 245 + b"\r\n") * 3, True),
            ((b"A: " + b"b" * 245 + b"\r\n") * 4, False),
        ):
            self.setUp()
            self.send(PREFACE + get("/")[:-2] + fields + b"\r\n")
            with self.subTest(size=len(fields)):
                if within:
                    self.assertIn(fields, self.reaches("web"))
                else:
                    self.assertRegex(self.took(), rb"^HTTP/1.1 431 Bad request")
                    self.ends(StreamOutcome.BAD_REQUEST)

    def test_responses(self) -> None:
        for count, outcomes in ((7, {}), (8, {StreamOutcome.TARGET_LOST: 1})):
            self.setUp()
            self.send(PREFACE + get("/"))
            self.reaches("web")
            self.says("web", OK[: OK.index(b"\r\n\r\n") + 2] + b"A: b\r\n" * count + b"\r\npod")
            self.turn()
            self.assertEqual(self.outcomes(), outcomes)


class ProxyHeaderTests(LookingCase):
    """The visitor of the preface, told to the target."""

    targets = "web:80"
    settings = ForwardSettings(proxy_protocol=1)

    def test_plain(self) -> None:
        """Ahead of all that the visitor says, which is not looked at."""
        self.send(stream_preface(RelayAddress("192.0.2.1", 4711), RelayAddress("198.51.100.7", 22)) + b"SSH-2.0-x\r\n")
        self.assertEqual(self.reaches("web"), b"PROXY TCP4 192.0.2.1 198.51.100.7 4711 22\r\nSSH-2.0-x\r\n")

    def test_names(self) -> None:
        """Where the visitor asked for a name, the target's own address stands in for it."""
        for source, line in [
            ("::ffff:192.0.2.1", b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 80\r\n"),
            ("2001:db8::1", b"PROXY TCP6 2001:db8::1 ::ffff:c633:6401 4711 80\r\n"),
            ("somebody", b"PROXY UNKNOWN\r\n"),
        ]:
            self.setUp()
            self.send(stream_preface(RelayAddress(source, 4711), RelayAddress("pod.local", 80)))
            self.assertEqual(self.reaches("web"), line)

    def test_followed(self) -> None:
        """A stream that is followed carries one exchange, since the next one may be another visitor's."""
        self.settings = ForwardSettings(proxy_protocol=2, set_host="b")
        self.setUp()
        self.send(PREFACE + get("/"))
        got = self.reaches("web")
        self.assertEqual(got[:16], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c")
        self.assertEqual(got[28:], get("/", "b"))
        self.says("web", OK)
        self.assertIn(b"Connection: close\r\n", self.took())
        self.ends(StreamOutcome.DONE)


def requests(path: str) -> tuple[bytes, ...]:
    """One of each framing."""
    start = f" {path} HTTP/1.1\r\nHost: a\r\n".encode()
    return (
        b"GET" + start + b"\r\n",
        b"POST" + start + b"Content-Length: 5\r\n\r\nGET /",
        b"PUT" + start + b"Transfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\nT: 1\r\n\r\n",
    )


class AnySplitTests(LookingCase):
    """However the bytes of requests and answers are cut, each target gets its requests, and the visitor its answers in order."""

    targets = "api:80?path=/api/,web:80"

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.sampled_from([*requests("/api/1"), *requests("/")]), min_size=1, max_size=6),
        st.lists(st.integers(1, 90), min_size=1, max_size=12),
        st.booleans(),
    )
    def test_splits(self, sent: list[bytes], cuts: list[int], chunked: bool) -> None:
        self.setUp()
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" if chunked else OK
        sizes = cycle(cuts)
        pending = list(sent)
        got = dict.fromkeys(("api", "web"), b"")
        data = PREFACE + b"".join(sent)
        for _ in range(len(data)):
            if not pending and not data:
                break
            size = next(sizes)
            piece, data = data[:size], data[size:]
            self.send(piece)
            for name in got:
                if self.at(name).waiting:
                    self.at(name).accept()
                    self.turn()
                if self.at(name).pipes:
                    got[name] += self.got(name)
                if pending and got[name] == pending[0]:
                    pending.pop(0)
                    got[name] = b""
                    left = answer
                    while left:
                        size = next(sizes)
                        self.says(name, left[:size])
                        left = left[size:]
        self.assertEqual(self.took(), answer * len(sent))
        self.assertEqual(sum(map(len, got.values())), 0)
