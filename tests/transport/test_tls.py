"""TLS over an in-memory pipe: handshakes, names, ends of each direction, and everything that is wrong with a peer."""

from __future__ import annotations

import socket
from collections.abc import Generator
from datetime import timedelta
from typing import Any, ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred, inlineCallbacks
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, HostnameEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from rtunnel.transport.certificates import client_context, self_signed_context, server_context
from rtunnel.transport.tls import ALERT_TIMEOUT, PLAIN_HTTP, StockTlsProtocol, TlsFactory
from rtunnel.transport.tls_creators import ClientConnectionCreator, ServerConnectionCreator
from rtunnel.transport.tls_endpoints import TlsClientEndpoint, TlsServerEndpoint
from rtunnel.transport.tls_errors import TlsError
from tests.support.authority import Authority
from tests.support.pipe import HIGH_WATER, Pipe, connect

reactor: Any = _reactor
NAME = "server.local"
HTTP = b"GET / HTTP/1.1\r\nHost: server.local\r\n\r\n"


class Upper(Protocol):
    """What sits on TLS."""

    transport: Any
    pauses = False

    def __init__(self) -> None:
        self.received = bytearray()
        self.pieces = 0
        self.lost: list[Failure] = []
        self.producing: list[str] = []

    def connectionMade(self) -> None:
        if self.pauses:
            self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.pieces += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.append(reason)

    def pauseProducing(self) -> None:
        self.producing.append("pause")

    def resumeProducing(self) -> None:
        self.producing.append("resume")

    def stopProducing(self) -> None:
        self.producing.append("stop")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Upper):
    """One that goes on when the peer has ended its direction."""

    read_ended = 0

    def readConnectionLost(self) -> None:
        self.read_ended += 1

    def writeConnectionLost(self) -> None:
        pass


class Keeping(Factory):
    """Keeps what it built."""

    noisy = False

    def __init__(self, protocol: type[Upper] = Upper) -> None:
        self.kind = protocol
        self.built: list[Upper] = []

    def buildProtocol(self, addr: Any) -> Upper:
        self.built.append(self.kind())
        return self.built[-1]


class Beneath:
    """An endpoint that hands out the factory put on it."""

    def __init__(self) -> None:
        self.factory: Any = None
        self.fired: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        self.factory = factory
        return self.fired

    connect = listen


class Ends:
    """A client and a server with TLS between them, over a pipe."""

    def __init__(
        self,
        *,
        server: SSL.Context,
        client: SSL.Context,
        name: str = NAME,
        upper: type[Upper] = Upper,
        server_upper: type[Upper] | None = None,
    ) -> None:
        self.clock = Clock()
        self.refusals: list[str] = []
        under_server, self.under_client = Beneath(), Beneath()
        self.servers, self.clients = Keeping(server_upper or upper), Keeping(upper)
        TlsServerEndpoint(
            under_server,  # type: ignore[arg-type]
            ServerConnectionCreator(lambda: server),
            reactor=self.clock,
            refused=lambda peer, reason: self.refusals.append(reason),
        ).listen(self.servers)
        self.endpoint = TlsClientEndpoint(
            self.under_client,  # type: ignore[arg-type]
            ClientConnectionCreator(lambda: client, name),
            reactor=self.clock,
        )
        self.result: list[Any] = []
        self.connecting = self.endpoint.connect(self.clients).addBoth(self.result.append)
        self.client_below = self.under_client.factory.buildProtocol(None)
        self.server_below = under_server.factory.buildProtocol(None)

    def shake(self, chunk: int | None = None) -> Ends:
        """Connect and pump."""
        self.pipe: Pipe = connect(self.client_below, self.server_below)
        self.under_client.fired.callback(self.client_below)
        self.pipe.pump(chunk=chunk)
        return self

    @property
    def client(self) -> Any:
        return self.clients.built[0]

    @property
    def server(self) -> Any:
        return self.servers.built[0]

    def refusal(self, test: SynchronousTestCase) -> str:
        """Why the client has no connection."""
        test.assertEqual(self.clients.built, [])
        (failure,) = self.result
        test.assertIsInstance(failure.value, TlsError)
        return str(failure.value)


class WithCertificates(SynchronousTestCase):
    """Certificates made once for the class, which are slow to make."""

    authority: ClassVar[Authority]
    files: ClassVar[tuple[str, str]]

    def setUp(self) -> None:
        cls = type(self)
        if "authority" not in vars(cls):
            cls.authority = Authority(self.mktemp())
            cls.files = cls.authority.issue(NAME, "*.wild.local", "192.0.2.7", "2001:db8::7")
        self.client_context = client_context(ca_file=self.authority.ca_file)

    def ends(self, **more: Any) -> Ends:
        given = {"server": server_context(*self.files), "client": self.client_context} | more
        return Ends(**given)


class ConversationTests(WithCertificates):
    def test_both_ways(self) -> None:
        ends = self.ends().shake()
        self.assertIs(ends.result[0], ends.client)
        ends.client.transport.write(b"hello")
        ends.server.transport.writeSequence([b"good", b"bye"])
        ends.pipe.pump()
        self.assertEqual((bytes(ends.server.received), bytes(ends.client.received)), (b"hello", b"goodbye"))

    def test_byte_by_byte(self) -> None:
        ends = self.ends().shake(chunk=1)
        ends.client.transport.write(b"hello")
        ends.pipe.pump(chunk=1)
        self.assertEqual(bytes(ends.server.received), b"hello")

    def test_what_is_written_is_not_readable(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.write(b"swordfish" * 100)
        self.assertNotIn(b"swordfish", bytes(ends.pipe.client._buffer))

    def test_much_comes_in_few_pieces(self) -> None:
        """All records of one read are one piece for the protocol."""
        ends = self.ends().shake()
        data = bytes(range(256)) * 4096
        ends.client.transport.write(data)
        ends.pipe.pump(chunk=262144)
        self.assertEqual(bytes(ends.server.received), data)
        self.assertLessEqual(ends.server.pieces, 5)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=40000)), max_size=8), st.integers(1, 70000))
    def test_any_conversation(self, said: list[tuple[bool, bytes]], chunk: int) -> None:
        ends = self.ends().shake()
        for by_client, data in said:
            (ends.client if by_client else ends.server).transport.write(data)
        ends.pipe.pump(chunk=chunk)
        self.assertEqual(bytes(ends.server.received), b"".join(data for by_client, data in said if by_client))
        self.assertEqual(bytes(ends.client.received), b"".join(data for by_client, data in said if not by_client))

    def test_version(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            context = client_context(ca_file=self.authority.ca_file)
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
            ends = self.ends(client=context).shake()
            ends.client.transport.write(b"hello")
            ends.server.transport.write(b"you too")
            ends.pipe.pump()
            self.assertEqual((bytes(ends.server.received), bytes(ends.client.received)), (b"hello", b"you too"))

    def test_old_version(self) -> None:
        for old in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            context.set_min_proto_version(old)
            context.set_max_proto_version(old)
            ends = self.ends(client=context).shake()
            self.assertIn("no secure version of TLS", ends.refusal(self))
            self.assertEqual(ends.servers.built, [])

    def test_addresses_and_options_are_those_beneath(self) -> None:
        ends = self.ends().shake()
        self.assertEqual(ends.server.transport.getPeer(), ends.pipe.server.getPeer())
        self.assertEqual(ends.server.transport.getHost(), ends.pipe.server.getHost())
        ends.server.transport.setTcpNoDelay(True)
        self.assertTrue(ends.pipe.server.getTcpNoDelay())

    def test_backpressure_is_that_beneath(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.registerProducer(ends.client, True)
        ends.server.transport.pauseProducing()
        ends.client.transport.write(b"x" * (HIGH_WATER + 1))
        ends.pipe.pump()
        self.assertEqual((ends.client.producing, bytes(ends.server.received)), (["pause"], b""))
        ends.server.transport.resumeProducing()
        ends.pipe.pump()
        self.assertEqual((ends.client.producing, len(ends.server.received)), (["pause", "resume"], HIGH_WATER + 1))

    def test_paused_at_once(self) -> None:
        """Bytes that come with the end of the handshake wait for a protocol that pauses when it is put on."""

        class Pausing(Upper):
            pauses = True

        ends = self.ends(server_upper=Pausing)
        ends.clients.kind = Speaking
        ends.shake()
        self.assertEqual(bytes(ends.server.received), b"")
        ends.server.transport.resumeProducing()
        ends.clock.advance(0)
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"early")

    def test_a_change_of_protocol(self) -> None:
        ends = self.ends().shake()
        other = Upper()
        ends.server.transport.protocol = other
        ends.client.transport.write(b"hello")
        ends.pipe.pump()
        self.assertEqual((bytes(ends.server.received), bytes(other.received)), (b"", b"hello"))


class Speaking(Upper):
    """Speaks first."""

    def connectionMade(self) -> None:
        self.transport.write(b"early")


class EndTests(WithCertificates):
    def test_close(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.write(b"last words")
        ends.client.transport.loseConnection()
        ends.client.transport.write(b"too late")
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"last words")
        for end in (ends.client, ends.server):
            (reason,) = end.lost
            self.assertIsNotNone(reason.check(ConnectionDone), reason)

    def test_half_close(self) -> None:
        """A client that has ended its direction still gets its answer."""
        ends = self.ends(upper=HalfCloseable).shake()
        ends.client.transport.write(b"question")
        ends.client.transport.loseWriteConnection()
        ends.pipe.pump()
        self.assertEqual((bytes(ends.server.received), ends.server.read_ended, ends.server.lost), (b"question", 1, []))
        ends.server.transport.write(b"answer" * 20000)
        ends.pipe.pump()
        self.assertEqual(bytes(ends.client.received), b"answer" * 20000)
        ends.server.transport.loseWriteConnection()
        ends.pipe.pump()
        for end in (ends.client, ends.server):
            self.assertIsNotNone(end.lost[0].check(ConnectionDone), end.lost)

    def test_half_close_is_an_end_for_who_does_not_know_it(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.loseWriteConnection()
        ends.pipe.pump()
        self.assertEqual([len(ends.client.lost), len(ends.server.lost)], [1, 1])

    def test_truncation(self) -> None:
        """A connection that ends without a goodbye was cut off by somebody: the stream must not look whole."""
        for cut in ("loseConnection", "loseWriteConnection"):
            ends = self.ends(upper=HalfCloseable).shake()
            ends.client.transport.write(b"half of")
            getattr(ends.client.transport.transport, cut)()
            ends.pipe.pump()
            self.assertEqual((bytes(ends.server.received), ends.server.read_ended), (b"half of", 0))
            self.assertIn("cut off without a TLS close_notify", ends.server.lost[0].getErrorMessage())
            self.assertIsNone(ends.server.lost[0].check(ConnectionDone))

    def test_lost(self) -> None:
        ends = self.ends().shake()
        ends.pipe.break_link()
        self.assertIsNotNone(ends.client.lost[0].check(ConnectionLost))

    def test_abort(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.abortConnection()
        ends.pipe.pump()
        self.assertEqual((len(ends.client.lost), len(ends.server.lost)), (1, 1))
        self.assertIsNone(ends.server.lost[0].check(ConnectionDone))

    def test_forged_bytes(self) -> None:
        """A record that nobody with the keys has written ends the connection, and its bytes never arrive."""
        ends = self.ends().shake()
        ends.client.transport.write(b"before")
        ends.client.transport.transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"before")
        self.assertIn("TLS failed: decryption failed", ends.server.lost[0].getErrorMessage())

    def test_a_peer_that_does_not_take_the_alert(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.transport.write(b"\x17\x03\x03\x00\x20" + bytes(32))
        ends.pipe.pump(max_bytes=37)
        ends.pipe.silent = True
        ends.pipe.pump()
        self.assertEqual(ends.server.lost, [])
        ends.clock.advance(ALERT_TIMEOUT)
        ends.pipe.pump()
        self.assertEqual(len(ends.server.lost), 1)

    def test_bytes_after_the_goodbye_are_dropped(self) -> None:
        ends = self.ends(upper=HalfCloseable).shake()
        ends.client.transport.loseWriteConnection()
        ends.client.transport.transport.write(b"x" * 1000)
        ends.pipe.pump()
        self.assertEqual((ends.server.read_ended, bytes(ends.server.received), ends.server.lost), (1, b"", []))


class NameTests(WithCertificates):
    def test_right(self) -> None:
        for name in (NAME, NAME.upper(), f"{NAME}.", "a.wild.local", "192.0.2.7", "2001:db8::7"):
            with self.subTest(name=name):
                self.assertEqual(len(self.ends(name=name).shake().clients.built), 1)

    def test_wrong(self) -> None:
        for name in ("other.local", "a.b.wild.local", "wild.local", "192.0.2.8", "2001:db8::8"):
            with self.subTest(name=name):
                words = self.ends(name=name).shake().refusal(self)
                self.assertIn("is for server.local, *.wild.local, 192.0.2.7, 2001:db8::7, not for " + name, words)
                self.assertIn("--tls-server-name", words)

    def test_nothing_is_sent_to_the_wrong_server(self) -> None:
        ends = self.ends(name="other.local")
        ends.clients.kind = Speaking
        ends.shake()
        self.assertEqual(ends.servers.built, [])

    def test_a_certificate_without_names(self) -> None:
        ends = self.ends(server=server_context(*self.authority.issue())).shake()
        self.assertIn("is for no host, not for server.local", ends.refusal(self))

    def test_not_verified(self) -> None:
        context, _ = self_signed_context()
        ends = self.ends(server=context, client=client_context(verify=False), name="other.local").shake()
        ends.client.transport.write(b"hello")
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"hello")


class RefusalTests(WithCertificates):
    """Whose fault it is, on both ends, in words."""

    def test_unknown_authority(self) -> None:
        ends = self.ends(client=client_context(ca_file=Authority(self.mktemp(), "other CA").ca_file)).shake()
        self.assertIn("was issued by an untrusted CA", ends.refusal(self))
        self.assertIn("--ca-file", ends.refusal(self))
        self.assertEqual(ends.refusals, ["the client does not trust the issuer of our certificate"])

    def test_another_name(self) -> None:
        ends = self.ends(name="other.local").shake()
        self.assertIn("not for other.local", ends.refusal(self))
        self.assertEqual(
            ends.refusals, ["the client ended the handshake; perhaps our certificate is for another name: see the client's log"]
        )

    def test_self_signed(self) -> None:
        ends = self.ends(server=self_signed_context()[0]).shake()
        self.assertIn("is self-signed", ends.refusal(self))

    def test_authorities_of_the_system(self) -> None:
        """Without a CA file those that the system trusts count, and ours is none of them."""
        self.assertIn("was issued by an untrusted CA", self.ends(client=client_context()).shake().refusal(self))

    def test_expired(self) -> None:
        files = self.authority.issue(NAME, file="old", ends=timedelta(hours=-1))
        ends = self.ends(server=server_context(*files)).shake()
        self.assertIn("has expired", ends.refusal(self))

    def test_not_yet_valid(self) -> None:
        files = self.authority.issue(NAME, file="young", starts=timedelta(hours=1))
        self.assertIn("is not yet valid", self.ends(server=server_context(*files)).shake().refusal(self))

    def test_a_certificate_for_clients(self) -> None:
        files = self.authority.issue(NAME, file="wrong", client=True)
        self.assertIn("is not a server certificate", self.ends(server=server_context(*files)).shake().refusal(self))

    def test_plain_http_client(self) -> None:
        ends = self.ends()
        plain = Upper()
        pipe = connect(plain, ends.server_below)
        pipe.client.write(HTTP)
        pipe.pump()
        self.assertEqual((bytes(plain.received), len(plain.lost)), (PLAIN_HTTP, 1))
        self.assertEqual(ends.refusals, ["the client speaks plain HTTP on a TLS port; it must use wss:// (tunnel+wss://)"])
        self.assertEqual(ends.servers.built, [])

    def test_plain_client(self) -> None:
        ends = self.ends()
        plain = Upper()
        pipe = connect(plain, ends.server_below)
        pipe.client.write(b"\x01\x02\x00\x00")
        pipe.pump()
        self.assertEqual(bytes(plain.received[:2]), b"\x15\x03")
        self.assertIn("the client does not speak TLS on a TLS port", ends.refusals[0])

    def test_plain_server(self) -> None:
        for answer, words in [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "plain HTTP"), (b"\x01\x01\x00\x00", "another protocol")]:
            ends = self.ends()
            pipe = connect(ends.client_below, plain := Upper())
            pipe.server.write(answer)
            pipe.pump()
            self.assertIn(f"the server speaks {words} on this port, not TLS", ends.refusal(self))
            self.assertEqual(len(plain.lost), 1)

    def test_nonsense_in_the_handshake(self) -> None:
        ends = self.ends()
        pipe = connect(Upper(), ends.server_below)
        pipe.client.write(b"\x16\x03\x01\x00\x10" + b"\xff" * 16)
        pipe.pump()
        self.assertEqual(len(ends.refusals), 1)
        self.assertIn("TLS failed: ", ends.refusals[0])

    def test_a_probe_is_not_worth_a_word(self) -> None:
        ends = self.ends()
        pipe = connect(Upper(), ends.server_below)
        pipe.client.loseConnection()
        pipe.pump()
        self.assertEqual(ends.refusals, [])

    def test_closed_in_the_handshake(self) -> None:
        ends = self.ends()
        pipe = connect(ends.client_below, Upper())
        pipe.server.loseConnection()
        pipe.pump()
        self.assertEqual(ends.refusal(self), "the connection was closed during the TLS handshake")

    def test_slow_handshake(self) -> None:
        ends = self.ends()
        pipe = connect(silent := Upper(), ends.server_below)
        pipe.pump()
        ends.clock.advance(14.9)
        pipe.pump()
        self.assertEqual(silent.lost, [])
        ends.clock.advance(0.2)
        pipe.pump()
        self.assertEqual((len(silent.lost), ends.refusals), (1, ["the TLS handshake took too long"]))
        self.assertEqual(ends.clock.getDelayedCalls(), [])

    def test_no_timer_stays(self) -> None:
        ends = self.ends().shake()
        self.assertEqual(ends.clock.getDelayedCalls(), [])


class ClientCertificateTests(WithCertificates):
    """The server asks for a certificate of a CA of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.laptops = Authority(self.mktemp(), "laptop CA")
        self.server_context = server_context(*self.files, ca_file=self.laptops.ca_file)

    def shake(self, *files: str) -> Ends:
        names: dict[str, Any] = dict(zip(("cert_file", "key_file"), files, strict=False))
        context = client_context(ca_file=self.authority.ca_file, **names)
        ends = self.ends(server=self.server_context, client=context).shake()
        ends.pipe.pump()
        return ends

    def reason(self, ends: Ends) -> str:
        """In TLS 1.3 a client has finished its part before the server says what it thinks of its certificate."""
        return str(ends.client.lost[0].value)

    def test_admitted(self) -> None:
        ends = self.shake(*self.laptops.issue("laptop", client=True))
        ends.client.transport.write(b"hello")
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"hello")

    def test_none(self) -> None:
        ends = self.shake()
        self.assertEqual(ends.refusals, ["the client sent no certificate, and one is required"])
        self.assertEqual(self.reason(ends), "the server requires a client certificate; give --cert-file and --key-file")
        self.assertEqual(ends.servers.built, [])

    def test_of_another_authority(self) -> None:
        ends = self.shake(*self.authority.issue("laptop", client=True))
        self.assertEqual(ends.refusals, ["the client's certificate was issued by an untrusted CA"])
        self.assertIn("does not trust the issuer of our certificate", self.reason(ends))
        self.assertEqual(ends.servers.built, [])

    def test_expired(self) -> None:
        ends = self.shake(*self.laptops.issue("laptop", client=True, ends=timedelta(hours=-1)))
        self.assertEqual(ends.refusals, ["the client's certificate has expired"])
        self.assertIn("has expired", self.reason(ends))

    def test_one_for_servers(self) -> None:
        ends = self.shake(*self.laptops.issue("laptop"))
        self.assertEqual(
            ends.refusals, ["the client's certificate is not a client certificate (its extended key usage lacks clientAuth)"]
        )
        self.assertEqual(ends.servers.built, [])


class ConnectTests(WithCertificates):
    """The Deferred of a client's connect."""

    def test_failed_beneath(self) -> None:
        ends = self.ends()
        ends.under_client.fired.errback(Failure(ConnectionLost("no route")))
        self.assertIsInstance(ends.result[0].value, ConnectionLost)

    def test_cancelled_before_connected(self) -> None:
        ends = self.ends()
        ends.connecting.cancel()
        self.assertIsInstance(ends.result[0].value, CancelledError)

    def test_cancelled_in_the_handshake(self) -> None:
        ends = self.ends()
        pipe = connect(ends.client_below, peer := Upper())
        ends.under_client.fired.callback(ends.client_below)
        ends.connecting.cancel()
        pipe.pump()
        self.assertIsInstance(ends.result[0].value, CancelledError)
        self.assertEqual((len(peer.lost), ends.clients.built), (1, []))


class StockTests(WithCertificates):
    """Twisted's own class, which takes the place of ours where Twisted has changed."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(TlsFactory, "protocol", StockTlsProtocol)

    def test_both_ways(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.write(b"hello")
        ends.server.transport.write(b"answer" * 20000)
        ends.pipe.pump()
        self.assertEqual((bytes(ends.server.received), bytes(ends.client.received)), (b"hello", b"answer" * 20000))

    def test_a_change_of_protocol(self) -> None:
        ends = self.ends().shake()
        ends.server.transport.protocol = other = Upper()
        ends.client.transport.write(b"hello")
        ends.pipe.pump()
        self.assertEqual(bytes(other.received), b"hello")

    def test_half_close_closes(self) -> None:
        ends = self.ends(upper=HalfCloseable).shake()
        ends.client.transport.write(b"last words")
        ends.client.transport.loseWriteConnection()
        ends.pipe.pump()
        self.assertEqual(bytes(ends.server.received), b"last words")
        for end in (ends.client, ends.server):
            self.assertIsNotNone(end.lost[0].check(ConnectionDone), end.lost)

    def test_abort(self) -> None:
        ends = self.ends().shake()
        ends.client.transport.abortConnection()
        ends.pipe.pump()
        self.assertIsNone(ends.server.lost[0].check(ConnectionDone))

    def test_refusals(self) -> None:
        self.assertIn("not for other.local", self.ends(name="other.local").shake().refusal(self))
        self.assertIn("is self-signed", self.ends(server=self_signed_context()[0]).shake().refusal(self))
        laptops = Authority(self.mktemp(), "laptop CA")
        ends = self.ends(server=server_context(*self.files, ca_file=laptops.ca_file)).shake()
        self.assertEqual(ends.refusals, ["the client sent no certificate, and one is required"])

    def test_plain_http_client(self) -> None:
        ends = self.ends()
        pipe = connect(Upper(), ends.server_below)
        pipe.client.write(HTTP)
        pipe.pump()
        self.assertEqual((ends.refusals, ends.servers.built), (["TLS failed: http request"], []))

    def test_slow_handshake(self) -> None:
        ends = self.ends()
        pipe = connect(silent := Upper(), ends.server_below)
        ends.clock.advance(15)
        pipe.pump()
        self.assertEqual((len(silent.lost), ends.refusals), (1, ["the TLS handshake took too long"]))


class InheritedSocketTests(TestCase):
    """Over a socket that somebody else has opened, on the real reactor: no socket of ours is needed beneath."""

    @inlineCallbacks
    def test_inherited(self) -> Generator[Deferred[Any], Any, None]:
        authority = Authority(self.mktemp())
        context, trusting = server_context(*authority.issue(NAME)), client_context(ca_file=authority.ca_file)
        opened = socket.create_server(("127.0.0.1", 0))
        opened.setblocking(False)
        number = opened.getsockname()[1]
        under = AdoptedStreamServerEndpoint(reactor, opened.detach(), socket.AF_INET)
        port = yield TlsServerEndpoint(under, ServerConnectionCreator(lambda: context), reactor=reactor).listen(
            Factory.forProtocol(Echo)
        )
        self.addCleanup(port.stopListening)
        below = HostnameEndpoint(reactor, "127.0.0.1", number)
        received: Deferred[bytes] = Deferred()
        collecting: Any = Factory.forProtocol(Collecting)
        collecting.received = received
        yield TlsClientEndpoint(below, ClientConnectionCreator(lambda: trusting, NAME), reactor=reactor).connect(collecting)
        self.assertEqual(len((yield received)), len(MUCH))


MUCH = bytes(range(256)) * 4000


class Echo(Protocol):
    """Sends back what comes."""

    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Collecting(Protocol):
    """Sends much, and ends when all of it has come back."""

    transport: Any
    factory: Any

    def connectionMade(self) -> None:
        self.came = bytearray()
        self.transport.write(MUCH)

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        if len(self.came) >= len(MUCH):
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.received.callback(bytes(self.came))
