"""What a target is told about its visitor, and whose word about that counts: from the visitor's bytes to the target's."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv6Address

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.forwarding import via_entry
from rtunnel.settings import HttpSettings
from tests.server.harness import VISITOR, HttpCase, all_worlds
from tests.support.heads import GET, OK

VIA = via_entry("pod.local")

TRUSTING = HttpSettings(trusted_proxies=(ip_network("192.168.0.0/16"),))
FORGED = b"203.0.113.66"

DROPPED = (
    b"Forwarded",
    b"X-Forwarded",
    b"X-Forwarded-By",
    b"X-Forwarded-Client-Cert",
    b"X-Forwarded-For",
    b"X-Forwarded-Host",
    b"X-Forwarded-Method",
    b"X-Forwarded-Path",
    b"X-Forwarded-Port",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Protocol",
    b"X-Forwarded-Scheme",
    b"X-Forwarded-Server",
    b"X-Forwarded-Ssl",
    b"X-Forwarded-Uri",
    b"X-Forwarded-User",
    b"X-FORWARDED-FOR",
    b"x-forwarded-for",
    b"X_Forwarded_For",
    b"X-Forwarded_Proto",
    b"x_forwarded-host",
    b"X-Real-IP",
    b"x-real-ip",
    b"X_Real_IP",
    b"X-Client-IP",
    b"X-Cluster-Client-IP",
    b"X-Original-Forwarded-For",
    b"X-Original-Host",
    b"X-Original-URL",
    b"X-Rewrite-URL",
    b"X-Remote-Addr",
    b"X-Remote-IP",
    b"X-Scheme",
    b"X-Url-Scheme",
    b"X-Request-Id",
    b"x-request-ID",
    b"X_Request_Id",
    b"X-Request_ID",
    b"x_request-id",
    b"CF-Connecting-IP",
    b"Client-IP",
    b"Client_IP",
    b"Fastly-Client-IP",
    b"Front-End-Https",
    b"True-Client-IP",
)
"""What proxies say of visitors; none of it is for a visitor to say."""

PASSED = (
    b"X-Forward",
    b"X-Forwardedness",
    b"Forwarder",
    b"X-Realm",
    b"X-Schemes",
    b"X-Requested-With",
    b"X-Request-Start",
    b"Client-IPs",
    b"Max-Forwards",
    b"Origin",
)
"""What only looks a little like that."""


class ForwardingCase(HttpCase):
    """A world with one connector, and settings of its own.

    :cvar settings: of the entrypoint.
    :cvar address: where visitors come from.
    """

    settings = HttpSettings()
    address: Any = VISITOR

    def setUp(self) -> None:
        super().setUp()
        self.world = self.make_world(self.settings)
        self.pod = self.world.attach()

    def passed(self, *fields: bytes, head: bytes = GET) -> bytes:
        """What the target gets of a request with further fields."""
        whole = head[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
        self.world.learn(whole)
        return self.ask(whole)

    def ask(self, data: bytes) -> bytes:
        """The same of a request of any kind."""
        self.visitor = self.world.visit(data, self.address)
        request = self.pod.stream.take()
        self.pod.stream.answer(OK)
        return request

    def lines(self, request: bytes, name: bytes) -> list[bytes]:
        """The values of a field, line by line, whatever its name's case."""
        pairs = [line.partition(b": ") for line in request.split(b"\r\n")[1:]]
        return [value for found, _, value in pairs if found.lower() == name.lower()]

    def said(self, request: bytes, **expected: bytes) -> None:
        """Each of these fields has one line, with this value."""
        for name, value in expected.items():
            field = name.replace("_", "-").encode()
            self.assertEqual(self.lines(request, field), [value], name)


class VisitorTests(ForwardingCase):
    """A visitor that is nobody's proxy: nothing that it says of itself reaches the target."""

    def check(self, request: bytes) -> None:
        """The target learns what we know, and nothing else."""
        self.assertNotIn(FORGED, request)
        self.said(request, X_Forwarded_For=b"192.168.1.1", X_Forwarded_Proto=b"http", Via=VIA)
        self.assertEqual(len(self.lines(request, b"X-Request-Id")), 1)
        self.assertEqual(self.lines(request, b"Forwarded"), [])

    def test_each_field(self) -> None:
        for name in DROPPED:
            with self.subTest(name=name):
                request = self.passed(name + b": " + FORGED)
                self.check(request)
                self.said(request, X_Forwarded_Host=b"pod.local")

    def test_all_fields(self) -> None:
        """In one head, which is larger than those of which templates are made."""
        self.world.unusual(requests=1)
        fields = b"".join(name + b": " + FORGED + b"\r\n" for name in DROPPED)
        request = self.ask(GET[:-2] + fields + b"A: b\r\n\r\n")
        self.check(request)
        self.said(request, A=b"b")

    def test_beside_others(self) -> None:
        """What is between them passes, in its order."""
        request = self.passed(b"A: 1", b"X-Real-IP: " + FORGED, b"B: 2", b"Forwarded: for=" + FORGED, b"C: 3")
        self.check(request)
        self.assertIn(b"\r\nA: 1\r\nB: 2\r\nC: 3\r\n", request)

    def test_more_than_once(self) -> None:
        self.world.unusual(requests=1)
        self.check(self.ask(GET[:-2] + (b"X-Forwarded-For: %b\r\n" % FORGED) * 3 + b"\r\n"))

    def test_requests_of_all_kinds(self) -> None:
        """Whatever else is in a head, and whether its fields come in the usual order."""
        fields = b"X-Forwarded-For: %b\r\nForwarded: for=%b\r\nX_Real_IP: %b\r\n" % (FORGED, FORGED, FORGED)
        for start, rest in (
            (b"GET / HTTP/1.1\r\n", b"Host: pod.local\r\n\r\n"),
            (b"GET http://pod.local/ HTTP/1.1\r\nHost: pod.local\r\n", b"\r\n"),
            (b"GET / HTTP/1.0\r\nHost: pod.local\r\n", b"\r\n"),
            (b"GET / HTTP/1.1\r\nHost: pod.local\r\n", b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"),
            (b"POST / HTTP/1.1\r\nHost: pod.local\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            (b"GET / HTTP/1.1\r\nHost: pod.local\r\n", b"TE: trailers\r\nConnection: TE\r\n\r\n"),
        ):
            with self.subTest(start=start):
                self.world.unusual(requests=1)
                self.check(self.ask(start + fields + rest))

    def test_cannot_have_ours_dropped(self) -> None:
        """Fields that Connection names are those of the visitor's connection, and not those that we write."""
        self.world.unusual(requests=1)
        fields = b"Connection: X-Forwarded-For, X-Request-Id, Via, X-Forwarded-Host\r\n"
        request = self.ask(GET[:-2] + fields + b"\r\n")
        self.check(request)
        self.said(request, X_Forwarded_Host=b"pod.local")

    def test_trailers(self) -> None:
        """They are refused in there: a target could take them for fields of the head."""
        for name in (b"X-Real-IP", b"Forwarded", b"X-Forwarded-For", b"X_Forwarded_For", b"X-Request-Id"):
            self.world.unusual(requests=1)
            chunks = b"0\r\n%b: %b\r\n\r\n" % (name, FORGED)
            visitor = self.world.visit(b"POST / HTTP/1.1\r\nHost: pod.local\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            self.assertEqual(visitor.status, 400)
            self.assertNotIn(FORGED, self.pod.stream.take())

    def test_others_pass(self) -> None:
        for name in PASSED:
            with self.subTest(name=name):
                request = self.passed(name + b": something")
                self.assertEqual(self.lines(request, name), [b"something"])

    def test_via(self) -> None:
        """A chain that everybody may extend."""
        self.said(self.passed(b"Via: 1.0 old"), Via=b"1.0 old, " + VIA)

    def test_host_and_port(self) -> None:
        request = self.ask(GET.replace(b"pod.local", b"Pod.Local:8080"))
        self.said(request, X_Forwarded_Host=b"Pod.Local:8080")

    def test_ipv6(self) -> None:
        self.address = IPv6Address("TCP", "2001:db8::7", 4711)
        self.said(self.passed(), X_Forwarded_For=b"2001:db8::7")

    def test_id_in_our_own_answers(self) -> None:
        """It is ours there too."""
        head = GET[:-2].replace(b"pod.local", b"other.local") + b"X-Request-Id: mine\r\n\r\n"
        self.world.learn(head)
        self.assertNotIn(b"mine", self.world.visit(head).received)


class TrustedTests(ForwardingCase):
    """A trusted proxy: what it says passes, and is extended."""

    settings = TRUSTING

    def test_says_nothing(self) -> None:
        request = self.passed()
        self.said(request, X_Forwarded_For=b"192.168.1.1", X_Forwarded_Proto=b"http", X_Forwarded_Host=b"pod.local")
        self.said(request, Via=VIA)
        self.assertEqual(self.lines(request, b"Forwarded"), [])

    def test_as_an_ingress_says_it(self) -> None:
        request = self.passed(
            b"X-Request-ID: abc-1",
            b"X-Real-IP: 8.8.8.8",
            b"X-Forwarded-For: 8.8.8.8",
            b"X-Forwarded-Host: shop.example",
            b"X-Forwarded-Port: 443",
            b"X-Forwarded-Proto: https",
            b"X-Forwarded-Scheme: https",
            b"X-Scheme: https",
            b"Via: 2.0 front",
        )
        self.said(
            request,
            X_Request_Id=b"abc-1",
            X_Real_IP=b"8.8.8.8",
            X_Forwarded_For=b"8.8.8.8, 192.168.1.1",
            X_Forwarded_Host=b"shop.example",
            X_Forwarded_Port=b"443",
            X_Forwarded_Proto=b"https",
            X_Forwarded_Scheme=b"https",
            X_Scheme=b"https",
            Via=b"2.0 front, " + VIA,
        )

    def test_each_field(self) -> None:
        """Those that we do not write ourselves pass as they came, except spellings that an application takes for ours."""
        written = (b"x-forwarded-for", b"x-request-id")
        passed_on = (b"x-forwarded-proto", b"x-forwarded-host")
        for name in DROPPED:
            if name.lower() not in written:
                collides = b"_" in name and name.lower().replace(b"_", b"-") in written + passed_on
                with self.subTest(name=name):
                    self.assertEqual(self.lines(self.passed(name + b": something"), name), [] if collides else [b"something"])

    def test_chain(self) -> None:
        request = self.passed(b"X-Forwarded-For: 8.8.8.8, 10.0.0.1")
        self.said(request, X_Forwarded_For=b"8.8.8.8, 10.0.0.1, 192.168.1.1")

    def test_chain_in_two_lines(self) -> None:
        self.world.unusual(requests=1)
        request = self.ask(GET[:-2] + b"X-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n")
        self.said(request, X_Forwarded_For=b"8.8.8.8, 10.0.0.1, 192.168.1.1")

    def test_empty_chain(self) -> None:
        self.said(self.passed(b"X-Forwarded-For:"), X_Forwarded_For=b"192.168.1.1")

    def test_sound_ids(self) -> None:
        """They are kept, also in our own answers."""
        for request_id in (b"abc-1", b"A.b_c:/+=@-9", b"x" * 128):
            self.said(self.passed(b"X-Request-Id: " + request_id), X_Request_Id=request_id)
        self.pod.lose()
        head = GET[:-2] + b"X-Request-Id: abc-2\r\n\r\n"
        self.assertIn(b"\r\nX-Request-Id: abc-2\r\n", self.world.visit(head).received)

    def test_unsound_ids(self) -> None:
        """They are replaced: an id goes into logs and pages."""
        for request_id in (b"", b"a b", b"a,b", b'a"b', b"<b>", b"a;b", b"x" * 129, b"\xe4"):
            with self.subTest(request_id=request_id):
                (given,) = self.lines(self.passed(b"X-Request-Id: " + request_id), b"X-Request-Id")
                self.assertRegex(given, rb"\A[0-9a-f]{32}\Z")

    def test_two_ids(self) -> None:
        self.world.unusual(requests=1)
        (given,) = self.lines(self.ask(GET[:-2] + b"X-Request-Id: a\r\nX-Request-Id: b\r\n\r\n"), b"X-Request-Id")
        self.assertRegex(given, rb"\A[0-9a-f]{32}\Z")

    def test_forwarded_passes(self) -> None:
        """As it came, for we do not write it here; but what it says of the visitor is in X-Forwarded-For too."""
        request = self.passed(b"Forwarded: for=8.8.8.8;proto=https")
        self.said(request, Forwarded=b"for=8.8.8.8;proto=https", X_Forwarded_For=b"8.8.8.8, 192.168.1.1")

    def test_kept(self) -> None:
        """A target that counts proxies sees those before the one that we trust, and no more."""
        self.world = self.make_world(evolve(TRUSTING, keep_forwarded_for=True))
        self.pod = self.world.attach()
        for fields, chain in [
            ((), b"192.168.1.1"),
            ((b"X-Forwarded-For: 8.8.8.8",), b"8.8.8.8"),
            ((b"X-Forwarded-For: 8.8.8.8, 10.0.0.1", b"X-Forwarded-Proto: https"), b"8.8.8.8, 10.0.0.1"),
            ((b"X-Forwarded-For:",), b"192.168.1.1"),
            ((b"Forwarded: for=8.8.8.8;proto=https",), b"8.8.8.8"),
        ]:
            self.said(self.passed(*fields), X_Forwarded_For=chain)
        self.said(self.passed(b"Forwarded: for=8.8.8.8;proto=https"), Forwarded=b"for=8.8.8.8;proto=https")

    def test_kept_in_forwarded(self) -> None:
        self.world = self.make_world(evolve(TRUSTING, keep_forwarded_for=True, write_forwarded=True))
        self.pod = self.world.attach()
        own = b"for=192.168.1.1;host=pod.local;proto=http"
        for value, expected in [(b"for=8.8.8.8;proto=https", b"for=8.8.8.8;proto=https"), (b"", own), (b'for="8.8.8.8', own)]:
            self.said(self.passed(b"Forwarded: " + value), Forwarded=expected)

    def test_kept_of_nobody_else(self) -> None:
        """A visitor that is no trusted proxy still says nothing."""
        self.world = self.make_world(evolve(TRUSTING, keep_forwarded_for=True))
        self.pod = self.world.attach()
        self.address = IPv6Address("TCP", "2001:db8::7", 4711)
        self.said(self.passed(b"X-Forwarded-For: " + FORGED), X_Forwarded_For=b"2001:db8::7")

    def test_quoted_text_in_forwarded(self) -> None:
        """A visitor can write what it likes in Host, which a proxy quotes."""
        for text in (b"x,for=203.0.113.66", b"x;for=203.0.113.66", b'x\\",for=203.0.113.66', b"x\\\\"):
            with self.subTest(text=text):
                request = self.passed(b'Forwarded: for=8.8.8.8;host="%b";proto=https' % text)
                self.said(request, X_Forwarded_For=b"8.8.8.8, 192.168.1.1")

    def test_malformed_forwarded(self) -> None:
        """Nothing in it counts."""
        for value in (b'host="x, for=203.0.113.66', b"for=8.8.8.8;host", b'for=8.8.8.8 "', b"for=8.8.8.8, =1"):
            with self.subTest(value=value):
                self.said(self.passed(b"Forwarded: " + value), X_Forwarded_For=b"192.168.1.1", Forwarded=value)

    def test_both_chains(self) -> None:
        """X-Forwarded-For counts."""
        request = self.passed(b"X-Forwarded-For: 8.8.8.8", b"Forwarded: for=9.9.9.9")
        self.said(request, X_Forwarded_For=b"8.8.8.8, 192.168.1.1", Forwarded=b"for=9.9.9.9")

    def test_others_are_not_trusted(self) -> None:
        for address in (IPv6Address("TCP", "::ffff:10.0.0.1", 1), IPv6Address("TCP", "fd00::1", 1)):
            self.address = address
            self.assertNotIn(FORGED, self.passed(b"X-Forwarded-For: " + FORGED))

    def test_address_as_a_socket_of_both_families_shows_it(self) -> None:
        self.address = IPv6Address("TCP", "::ffff:192.168.1.1", 1)
        self.said(self.passed(b"X-Forwarded-For: 8.8.8.8"), X_Forwarded_For=b"8.8.8.8, 192.168.1.1")

    def test_each_request_of_a_connection(self) -> None:
        """A proxy passes many visitors on."""
        head = GET[:-2] + b"X-Forwarded-For: %b\r\n\r\n"
        self.world.learn(head % b"8.8.8.8")
        visitor = self.world.visit()
        for address in (b"8.8.8.8", b"9.9.9.9"):
            visitor.send(head % address)
            self.said(self.pod.stream.take(), X_Forwarded_For=address + b", 192.168.1.1")
            self.pod.stream.answer(OK)
        visitor.send(GET)
        self.said(self.pod.stream.take(), X_Forwarded_For=b"192.168.1.1")


class WrittenTests(ForwardingCase):
    """Forwarded (RFC 7239) is written, for visitors."""

    settings = HttpSettings(write_forwarded=True)

    def test_visitor(self) -> None:
        request = self.passed()
        self.said(request, Forwarded=b"for=192.168.1.1;host=pod.local;proto=http", X_Forwarded_For=b"192.168.1.1")

    def test_forged(self) -> None:
        request = self.passed(b"Forwarded: for=%b" % FORGED)
        self.said(request, Forwarded=b"for=192.168.1.1;host=pod.local;proto=http")

    def test_host_and_port(self) -> None:
        """The colon is no part of a token."""
        request = self.ask(GET.replace(b"pod.local", b"pod.local:8080"))
        self.said(request, Forwarded=b'for=192.168.1.1;host="pod.local:8080";proto=http')

    def test_ipv6(self) -> None:
        self.address = IPv6Address("TCP", "2001:db8::7", 4711)
        self.said(self.passed(), Forwarded=b'for="[2001:db8::7]";host=pod.local;proto=http')

    def test_via_too(self) -> None:
        request = self.passed(b"Via: 1.0 old")
        self.said(request, Forwarded=b"for=192.168.1.1;host=pod.local;proto=http", Via=b"1.0 old, " + VIA)

    def test_two_hosts_on_a_connection(self) -> None:
        visitor = self.world.visit()
        for host in (b"pod.local", b"POD.local", b"pod.local"):
            visitor.send(GET.replace(b"pod.local", host))
            self.said(self.pod.stream.take(), Forwarded=b"for=192.168.1.1;host=%b;proto=http" % host)
            self.pod.stream.answer(OK)


class ExtendedTests(ForwardingCase):
    """Forwarded is written, and extended for a trusted proxy."""

    settings = HttpSettings(trusted_proxies=(ip_network("192.168.0.0/16"), ip_network("fd00::/8")), write_forwarded=True)

    def test_says_nothing(self) -> None:
        self.said(self.passed(), Forwarded=b"for=192.168.1.1;host=pod.local;proto=http")

    def test_extended(self) -> None:
        request = self.passed(b"Forwarded: for=8.8.8.8;proto=https;host=shop.example")
        self.said(
            request,
            Forwarded=b"for=8.8.8.8;proto=https;host=shop.example, for=192.168.1.1;host=pod.local;proto=http",
            X_Forwarded_For=b"8.8.8.8, 192.168.1.1",
        )

    def test_extended_in_two_lines(self) -> None:
        self.world.unusual(requests=1)
        request = self.ask(GET[:-2] + b"Forwarded: for=8.8.8.8\r\nForwarded: for=10.0.0.1\r\n\r\n")
        self.said(request, Forwarded=b"for=8.8.8.8, for=10.0.0.1, for=192.168.1.1;host=pod.local;proto=http")

    def test_what_it_says_in_other_fields(self) -> None:
        """Of the host and the protocol that the visitor used."""
        request = self.passed(b"X-Forwarded-Proto: https", b"X-Forwarded-Host: shop.example:8443")
        self.said(request, Forwarded=b'for=192.168.1.1;host="shop.example:8443";proto=https')

    def test_quotes(self) -> None:
        """What it says in other fields cannot end its place in this one."""
        request = self.passed(b'X-Forwarded-Host: a";for=203.0.113.66;b="', b"X-Forwarded-Proto: https, http")
        self.said(request, Forwarded=b'for=192.168.1.1;host="a\\";for=203.0.113.66;b=\\"";proto="https, http"')
        request = self.passed(b"X-Forwarded-Host: a\\", b"X-Forwarded-Proto: https")
        self.said(request, Forwarded=b'for=192.168.1.1;host="a\\\\";proto=https')

    def test_malformed(self) -> None:
        """That cannot be extended, so a new chain begins."""
        request = self.passed(b'Forwarded: for=8.8.8.8;host="x')
        self.said(request, Forwarded=b"for=192.168.1.1;host=pod.local;proto=http", X_Forwarded_For=b"192.168.1.1")

    def test_ipv6(self) -> None:
        self.address = IPv6Address("TCP", "fd00::7", 4711)
        request = self.passed(b'Forwarded: for="[2001:db8::1]:4711"')
        self.said(
            request,
            Forwarded=b'for="[2001:db8::1]:4711", for="[fd00::7]";host=pod.local;proto=http',
            X_Forwarded_For=b"2001:db8::1, fd00::7",
        )


class ChangedTests(ForwardingCase):
    """Settings that change hold for the next request of connections that exist."""

    def after(self, settings: HttpSettings, *fields: bytes) -> bytes:
        head = GET[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"
        self.ask(GET)
        self.world.change(settings)
        self.world.learn(head)
        self.visitor.send(head)
        return self.pod.stream.take()

    def test_trusted_from_now_on(self) -> None:
        request = self.after(TRUSTING, b"X-Forwarded-For: 8.8.8.8")
        self.said(request, X_Forwarded_For=b"8.8.8.8, 192.168.1.1")

    def test_trusted_no_more(self) -> None:
        self.world = self.make_world(TRUSTING)
        self.pod = self.world.attach()
        self.said(self.after(HttpSettings(), b"X-Forwarded-For: 8.8.8.8"), X_Forwarded_For=b"192.168.1.1")

    def test_written_from_now_on(self) -> None:
        request = self.after(HttpSettings(write_forwarded=True))
        self.said(request, Forwarded=b"for=192.168.1.1;host=pod.local;proto=http")

    def test_in_the_middle_of_a_head(self) -> None:
        """A head that was begun before is read as one of now."""
        head = GET[:-2] + b"X-Forwarded-For: 8.8.8.8\r\n\r\n"
        visitor = self.world.visit(head[:60])
        self.world.change(TRUSTING)
        self.world.learn(head)
        visitor.send(head[60:])
        self.said(self.pod.stream.take(), X_Forwarded_For=b"8.8.8.8, 192.168.1.1")

    def test_while_a_request_is_in_progress(self) -> None:
        visitor = self.world.visit(GET)
        self.world.change(HttpSettings(write_forwarded=True))
        self.pod.stream.answer(OK)
        self.assertEqual((visitor.take(), self.world.outcomes()), (OK, {Outcome.ANSWERED: 1}))


globals().update(all_worlds(VisitorTests, TrustedTests, WrittenTests, ExtendedTests, ChangedTests))
