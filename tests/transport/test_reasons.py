"""Why connections fail, in one line: errors of the system, of Twisted, and of the WebSocket upgrade."""

from __future__ import annotations

import errno
import os
import socket
import struct
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as installed_reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from rtunnel.outcomes import Outcome
from rtunnel.server.entrypoint.answers import own_answer
from rtunnel.transport import reasons
from rtunnel.transport.connecting import AtOnceClient, SocketClientEndpoint
from rtunnel.transport.proxies import ProxyRefused
from rtunnel.transport.reasons import reason_of
from rtunnel.transport.tls import PLAIN_HTTP
from rtunnel.transport.upgrade_faults import NO_TUNNEL, TLS_HERE, Asked, describe_answer
from rtunnel.transport.websocket_endpoints import WebSocketClientEndpoint
from rtunnel.wire.relay import Response, Status

# trial's reactor, whose type depends on the platform
reactor: Any = installed_reactor


def reason(cause: Exception) -> str:
    return reason_of(Failure(cause))


class ReasonTests(SynchronousTestCase):
    def test_each_says_what_to_do(self) -> None:
        """One line: what happened and why, a semicolon, what to do."""
        for number in reasons._BY_ERRNO:
            for text in (reason(error.getConnectError((number, os.strerror(number)))), reason(OSError(number, "x"))):
                self.assertRegex(text, r"^[a-z][^\n;]+; [^\n]+[^.\n]$")

    def test_errors_of_twisted(self) -> None:
        for cause, words in [
            (error.ConnectionRefusedError(), "the connection was refused: nothing listens at that address; check host and port"),
            (error.NoRouteError(), "there is no route to the host; "),
            (error.TCPTimedOutError(), "nothing answered in time; "),
            (error.TimeoutError(), "nothing answered in time; "),
            (error.ConnectionLost(), "the connection was lost; "),
            (error.ConnectionLost("the cable is cut"), "the connection was lost (the cable is cut); "),
            (error.ConnectionDone(), "the other end closed the connection; "),
            (error.ConnectError(errno.EHOSTUNREACH, "No route to host"), "there is no route to the host; "),
        ]:
            self.assertIn(words, reason(cause))

    def test_name(self) -> None:
        """What the name was is said, and nothing of Twisted's."""
        text = reason(error.DNSLookupError("no results for hostname lookup: nosuch.invalid"))
        self.assertTrue(text.startswith("the name cannot be resolved (no results for hostname lookup: nosuch.invalid); check its"))

    def test_failure_in_a_failure(self) -> None:
        """Twisted puts the reason why a socket was given up into a ConnectError, as a Failure."""
        for cause in (error.ConnectionDone(), error.ConnectionRefusedError(), OSError(errno.EMFILE, "too many")):
            nested = Failure(error.ConnectError(string=Failure(cause)))
            self.assertEqual(reason_of(nested), reason(cause))
            self.assertNotIn("Failure", reason_of(nested))

    def test_others_say_it_themselves(self) -> None:
        self.assertEqual(reason(ProxyRefused("the proxy does not like us")), "the proxy does not like us")
        self.assertEqual(reason(ValueError("invalid\nhostname: a..b.")), "invalid hostname: a..b")
        self.assertEqual(reason(ValueError()), "ValueError")


class UpgradeAnswerTests(SynchronousTestCase):
    def answer(self, status: int, phrase: str = "", **more: Any) -> str:
        text = describe_answer(Asked("shop.example.org", "/proxy"), status, phrase, **more)
        said, semicolon, hint = text.partition("; ")
        self.assertEqual((said, semicolon), (f"the upgrade was answered with {status} {phrase}".strip(), "; "))
        return hint

    def test_answers(self) -> None:
        for status, words in [
            (200, "no tunnel server at /proxy for the host shop.example.org, but a web server; check"),
            (400, "check whether this port expects wss://"),
            (401, "asks for a login; exempt /proxy from it"),
            (403, "forbids it; allow WebSockets to /proxy of shop.example.org there"),
            (404, "no tunnel server at /proxy for the host shop.example.org; an Ingress finds its rule by both"),
            (407, "give --proxy with its user and password"),
            (418, "check host, port and path"),
            (421, "the name that TLS was opened for is not shop.example.org"),
            (426, "drops the Upgrade header"),
            (429, "limits the number of requests; exempt /proxy"),
            (500, "the server failed; check its log"),
            (502, "the server behind it does not; check that the server is running and ready"),
            (503, "no server is behind it; check that the server is running and ready"),
            (504, "does not in time"),
            (505, "have it pass WebSockets on with HTTP/1.1"),
        ]:
            self.assertIn(words, self.answer(status, "Because"))

    def test_not_found_by_a_listener(self) -> None:
        """Ours says so in the reason phrase, which proxies pass on."""
        self.assertIn("the tunnel server is there, but not at /proxy; write the server's --path", self.answer(404, NO_TUNNEL))

    def test_entrypoint(self) -> None:
        for status, outcome in ((404, Outcome.UNKNOWN_HOST), (503, Outcome.NO_CONNECTOR)):
            _, body = own_answer(status, outcome)
            hint = self.answer(status, "Because", body=body)
            self.assertIn("this is an entrypoint of the server, which is for visitors; ", hint)
            self.assertIn("have the Ingress send /proxy of shop.example.org to that port", hint)
        self.assertNotIn("entrypoint", self.answer(404, "Not Found", body=b"<html>"))

    def test_tls_port(self) -> None:
        """Ours says so in the reason phrase; nginx and Go in the body."""
        phrase = PLAIN_HTTP.split(b"\r\n")[0].decode().split(" ", 2)[2]
        self.assertIn("use wss://", self.answer(400, phrase))
        body = b"<center>The plain HTTP request was sent to HTTPS port</center>"
        self.assertEqual(self.answer(400, "Bad Request", body=body), TLS_HERE)

    def test_redirects(self) -> None:
        for location, words in [
            ("https://shop.example.org/proxy", "this address is served with TLS; use wss://shop.example.org/proxy for the server"),
            ("https://Shop.example.org:8443/proxy/", "with TLS; use wss://Shop.example.org:8443/proxy/ for the server"),
            ("https://www.example.org/proxy", "it redirects to https://www.example.org/proxy; use wss://www.example.org/proxy for"),
            ("http://10.0.0.1:81/proxy", "it redirects to http://10.0.0.1:81/proxy; use ws://10.0.0.1:81/proxy for"),
            ("https://sso.example.org/login?to=/proxy", "perhaps the login of a proxy in front of the server; exempt /proxy from"),
            ("/login", "it redirects to /login, perhaps the login"),
            ("https://[::1/{x}", "it redirects to https://[::1/{x}, perhaps the login"),
            ("", "it redirects, but does not say where to; "),
        ]:
            self.assertIn(words, self.answer(308, "Permanent Redirect", location=location))

    def test_what_a_peer_writes(self) -> None:
        """It can be anything, and is kept to one short line."""
        text = describe_answer(Asked("a", "/{path}"), 302, "a\x1b[31m\nb{0}" * 100, location="\r\n{host}" * 100)
        self.assertTrue(text.isprintable() and len(text) < 600, text)


class Quiet(Protocol):
    """Never connected in these tests."""


class SocketTests(TestCase):
    """Real sockets."""

    async def failure(self, endpoint: IStreamClientEndpoint) -> str:
        """Why a connect fails."""
        try:
            await endpoint.connect(Factory.forProtocol(Quiet))
        except Exception as cause:
            return reason(cause)
        raise AssertionError("it is connected")

    async def test_nobody_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            text = await self.failure(SocketClientEndpoint(reactor, host, port))
            self.assertIn("the connection was refused: nothing listens at that address; ", text)

    async def test_unix_sockets(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "service.sock")
        self.assertIn("the socket does not exist; check the path", await self.failure(UNIXClientEndpoint(reactor, path)))
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(path)
        self.assertIn("the connection was refused", await self.failure(UNIXClientEndpoint(reactor, path)))

    async def upgrade(self, act: Any) -> str:
        """Why an upgrade fails.

        :param act: what the server does with the connection once the request is there.
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            host, port = server.getsockname()
            under = SocketClientEndpoint(reactor, host, port)
            failing = self.failure(WebSocketClientEndpoint(under, reactor=reactor, host=host, port=port))
            reactor.addReader(_Acceptor(server, act))
            return await failing

    async def test_upgrades(self) -> None:
        for act, words in [
            (_close, "the connection was closed before the upgrade to a WebSocket was answered; "),
            (_reset, "the connection was lost; "),
            (
                _say(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
                "the upgrade was answered with 404 Not Found; no tunnel server at /ws for the host 127.0.0.1; ",
            ),
            (_say(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), "502 Bad Gateway; a proxy or Ingress answers, and the server behind"),
            (_say(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "503 Service Unavailable; a proxy or Ingress answers, and no"),
            (_say(b"HTTP/1.0 200 OK\r\n\r\nhello"), "200 OK; no tunnel server at /ws for the host 127.0.0.1, but a web server; "),
            (
                _say(b"HTTP/1.1 301 Moved\r\nLocation: https://b/ws\r\n\r\n"),
                "301 Moved; it redirects to https://b/ws; use wss://b/ws for the server",
            ),
            (_say(b"SSH-2.0-OpenSSH\r\n\r\n"), "the upgrade to a WebSocket failed: "),
            (_say(Response(Status.BAD_REQUEST).encode()), "a tunnel listener without WebSockets answers here; use tcp://"),
            (_say(b"SSH-2.0-OpenSSH\r\n"), 'failed: the answer is not HTTP, but "SSH-2.0-OpenSSH"; check that host and port'),
            (_say(b"\x15\x03\x03\x00\x02\x02\x0a"), "the server speaks TLS here; use wss:// (tunnel+wss://)"),
        ]:
            text = await self.upgrade(act)
            self.assertIn(words, text)
            self.assertNotIn("\n", text)


def _say(answer: bytes) -> Any:
    def act(connection: socket.socket) -> None:
        connection.sendall(answer)

    return act


def _close(connection: socket.socket) -> None:
    """End it without a word."""


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Acceptor:
    """Accepts one connection, waits for a request, acts, closes."""

    def __init__(self, listening: socket.socket, act: Any) -> None:
        self._socket = listening
        self._act = act
        self._connection: socket.socket | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def doRead(self) -> None:
        if self._connection is None:
            reactor.removeReader(self)
            self._connection, _ = self._socket.accept()
            self._socket = self._connection
            reactor.addReader(self)
            return
        reactor.removeReader(self)
        self._connection.recv(65536)
        self._act(self._connection)
        self._connection.close()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops."""

    def logPrefix(self) -> str:
        return "acceptor"


class PendingErrorTests(SynchronousTestCase):
    def test_the_system_knows_why(self) -> None:
        """A poll may tell of an error (an ICMP message, say) before the connect is looked at: it is not lost then."""
        connecting: Any = _Connecting()
        client = AtOnceClient(socket.AF_INET, ("127.0.0.1", 80), connecting, _Reactor())
        with socket.create_server(("127.0.0.1", 0)) as probe:
            address = probe.getsockname()
        self.assertEqual(client.socket.connect_ex(address), errno.EINPROGRESS)
        client.connectionLost(Failure(error.ConnectionDone()))
        self.assertIn("the connection was refused", reason_of(connecting.failure))

    def test_nothing_is_known(self) -> None:
        connecting: Any = _Connecting()
        client = AtOnceClient(socket.AF_INET, ("127.0.0.1", 80), connecting, _Reactor())
        client.connectionLost(Failure(error.ConnectionDone()))
        self.assertIn("the other end closed the connection", reason_of(connecting.failure))


class _Reactor(Clock):
    """One that polls nothing."""

    def removeReader(self, reader: Any) -> None:
        """There is none."""

    def removeWriter(self, writer: Any) -> None:
        """There is none."""


class _Connecting:
    """Twisted's connector, as a client sees it."""

    failure: Failure

    def connectionFailed(self, failure: Failure) -> None:
        self.failure = failure
