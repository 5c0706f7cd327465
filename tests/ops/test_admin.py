"""The admin endpoint, over real sockets on the loopback."""

from __future__ import annotations

import socket
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from rtunnel.metrics.exposition import ServerCollector
from rtunnel.metrics.stats import ServerStats
from rtunnel.ops.admin import AdminService
from rtunnel.ops.admin_answers import AdminAnswers
from rtunnel.ops.start import StartError
from rtunnel.settings import Address
from tests.support.processes import ourselves


class Conversation(Protocol):
    """Sends something and collects all that comes back."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.answer = b""
        self.over: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def dataReceived(self, data: bytes) -> None:
        self.answer += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(self.answer)


class AdminTestCase(TestCase):
    """An endpoint on a free port."""

    def setUp(self) -> None:
        self.is_ready = False
        self.stats = ServerStats()
        registry = CollectorRegistry()
        registry.register(ServerCollector(self.stats, list))
        self.answers = AdminAnswers(
            ready=lambda: self.is_ready,
            metrics=lambda: generate_latest(registry),
            status=lambda: b'{"status_version": 1}\n',
            refresh=lambda: self.refreshed,
            unready="still asleep",
        )
        self.refreshed: Deferred[None] = succeed(None)
        self.admin = AdminService(Address("127.0.0.1", 0), self.answers, reactor)
        self.admin.startService()
        self.addCleanup(self.admin.stopService)

    async def say(self, request: bytes, port: int | None = None) -> bytes:
        """Send bytes and return all that comes until the connection ends."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port or self.admin.port)
        conversation: Conversation = await connectProtocol(endpoint, Conversation(request))
        return await conversation.over

    async def ask(self, path: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Send one request; returns status, fields and body."""
        answer = await self.say(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), fields, body


class ProbeTests(AdminTestCase):
    async def test_livez(self) -> None:
        status, fields, body = await self.ask("/livez")
        self.assertEqual((status, body), (200, b"alive\n"))
        self.assertEqual(fields["content-type"], "text/plain; charset=utf-8")

    async def test_readyz(self) -> None:
        status, _fields, body = await self.ask("/readyz")
        self.assertEqual((status, body), (503, b"not ready: still asleep\n"))
        self.is_ready = True
        status, _fields, body = await self.ask("/readyz")
        self.assertEqual((status, body), (200, b"ready\n"))
        self.is_ready = False
        self.assertEqual((await self.ask("/readyz"))[0], 503)

    async def test_metrics(self) -> None:
        self.stats.visitors_total = 42
        status, fields, body = await self.ask("/metrics")
        self.assertEqual(status, 200)
        self.assertEqual(fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.assertIn(b"\nrtunnel_server_visitors_total 42.0\n", body)
        self.assertEqual(int(fields["content-length"]), len(body))

    async def test_status(self) -> None:
        status, fields, body = await self.ask("/status")
        self.assertEqual((status, fields["content-type"], body), (200, "application/json", b'{"status_version": 1}\n'))

    async def test_status_waits_for_what_is_asked_elsewhere(self) -> None:
        self.refreshed = Deferred()
        asked = ensureDeferred(self.ask("/status"))
        self.assertEqual((await self.ask("/livez"))[0], 200)
        self.assertNoResult(asked)
        self.refreshed.callback(None)
        self.assertEqual((await asked)[0], 200)

    async def test_who_asked_is_gone(self) -> None:
        """The answer comes too late, and nothing happens."""
        self.refreshed = Deferred()
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.admin.port)
        asked = await connectProtocol(endpoint, Conversation(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n"))
        await self.ask("/livez")
        asked.transport.loseConnection()
        await asked.over
        await self.ask("/livez")
        self.refreshed.callback(None)

    async def test_error(self) -> None:
        self.refreshed = fail(RuntimeError("boom"))
        self.assertEqual((await self.ask("/status"))[0], 500)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_query_does_not_matter(self) -> None:
        self.assertEqual((await self.ask("/livez?verbose=1"))[0], 200)

    async def test_anything_else(self) -> None:
        for path in ("/", "/livez/", "/LIVEZ", "//livez", "/metrics/../livez", "*"):
            status, _fields, body = await self.ask(path)
            self.assertEqual((status, body), (404, b"not found: there are /livez, /readyz, /metrics and /status\n"), path)


class ManneredTests(AdminTestCase):
    async def test_no_version(self) -> None:
        _status, fields, _body = await self.ask("/livez")
        self.assertNotIn("server", fields)
        self.assertEqual(fields["cache-control"], "no-store")

    async def test_head(self) -> None:
        status, fields, body = await self.ask("/livez", "HEAD")
        self.assertEqual((status, body, fields["content-length"]), (200, b"", "6"))

    async def test_other_methods(self) -> None:
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            status, fields, body = await self.ask("/livez", method)
            self.assertEqual((status, fields["allow"], body), (405, "GET, HEAD", b"only GET and HEAD\n"), method)

    async def test_a_body_is_not_kept(self) -> None:
        form = b"a=b&" * 30000
        answer = await self.say(
            b"POST /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s" % (len(form), form)
        )
        self.assertTrue(answer.startswith(b"HTTP/1.1 405 "), answer[:80])

    async def test_keep_alive_and_pipelining(self) -> None:
        answer = await self.say(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        self.assertEqual(answer.count(b"HTTP/1.1 "), 2)
        self.assertIn(b"alive\n", answer)
        self.assertTrue(answer.endswith(b"not ready: still asleep\n"))

    async def test_not_http(self) -> None:
        self.assertTrue((await self.say(b"\x16\x03\x01\r\n\r\n")).startswith(b"HTTP/1.1 400 "))

    async def test_no_log_line_for_a_probe(self) -> None:
        events: list[LogEvent] = []
        observer: ILogObserver = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await self.ask("/livez")
        await self.ask("/readyz", "HEAD")
        # our own end of the conversation may log; what twisted.web logs has a namespace there, and an access log has none
        own = "twisted.internet.endpoints"
        self.assertEqual([event for event in events if not str(event["log_namespace"]).startswith(own)], [])


class StartTests(TestCase):
    def service(self, address: Address) -> AdminService:
        answers = AdminAnswers(ready=lambda: True, metrics=lambda: b"", status=lambda: b"{}")
        return AdminService(address, answers, reactor)

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            error = self.assertRaises(StartError, self.service(Address("127.0.0.1", port)).startService)
        self.assertEqual(
            str(error),
            f"the admin endpoint cannot listen on 127.0.0.1:{port}: Address already in use ({ourselves()}); "
            "stop what listens there, or choose another port with --admin",
        )

    def test_not_our_address(self) -> None:
        error = self.assertRaises(StartError, self.service(Address("192.0.2.1", 0)).startService)
        self.assertIn("192.0.2.1:0: Cannot assign requested address", str(error))

    def test_stop_without_a_start(self) -> None:
        self.assertIsNone(self.successResultOf(self.service(Address("127.0.0.1", 0)).stopService()))

    async def test_every_address(self) -> None:
        """A kubelet asks at the pod's address, whichever family that is of."""
        admin = self.service(Address("", 0))
        admin.startService()
        self.addCleanup(admin.stopService)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", admin.port)
        request = b"GET /readyz HTTP/1.0\r\n\r\n"
        answer = await (await connectProtocol(endpoint, Conversation(request))).over
        self.assertTrue(answer.startswith(b"HTTP/1.0 200 "), answer)

    async def test_stopped(self) -> None:
        admin = self.service(Address("127.0.0.1", 0))
        admin.startService()
        port = admin.port
        await admin.stopService()
        with socket.create_server(("127.0.0.1", port)):
            pass
