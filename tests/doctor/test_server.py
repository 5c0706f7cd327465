"""What is said of the way to a server, and of what it allows."""

from __future__ import annotations

import socket
from email.utils import formatdate
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.cli.hops import Hop
from rtunnel.doctor.findings import Finding, State
from rtunnel.doctor.server import _clock, _rights, _skew, look_at_way
from rtunnel.settings import Address, ProxySettings, ServerConnectionSettings
from rtunnel.wire.control import Allowed
from tests.support.ids import TUNNEL


class WayTests(SynchronousTestCase):
    """A server that is a socket of the test."""

    def way(self, port: int, host: str = "127.0.0.1", transport: str = "ws") -> dict[str, Finding]:
        settings = ServerConnectionSettings(server=Address(host, port), tunnel=TUNNEL, transport=transport)
        return {finding.name: finding for finding in look_at_way(settings)}

    def serve(self, response: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, listener:
                connection.recv(4096)
                connection.sendall(response)

        thread = Thread(target=answer)
        thread.start()
        self.addCleanup(thread.join)
        port: int = listener.getsockname()[1]
        return port

    def test_all_of_it(self) -> None:
        """What answers a plain request is of no interest, but its clock is."""
        head = f"HTTP/1.1 400 Bad Request\r\nDate: {formatdate(usegmt=True)}\r\nContent-Length: 0\r\n\r\n"
        found = self.way(self.serve(head.encode()))
        self.assertEqual(list(found), ["name", "connection", "clock"])
        self.assertEqual({finding.state for finding in found.values()}, {State.OK})

    def test_no_such_name(self) -> None:
        found = self.way(80, "nothing.invalid")
        self.assertEqual([(name, finding.state) for name, finding in found.items()], [("name", State.FAILED)])
        self.assertIn("DNS", found["name"].hint)

    def test_refused(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.assertIs(self.way(port)["connection"].state, State.FAILED)

    def test_no_tls(self) -> None:
        self.assertIs(self.way(self.serve(b"HTTP/1.1 400 Bad Request\r\n\r\n"), transport="wss")["TLS"].state, State.FAILED)

    def test_through_a_proxy(self) -> None:
        """It looks the name up."""
        proxy = ProxySettings(scheme="http", address=Address("proxy", 3128))
        settings = ServerConnectionSettings(server=Address("nothing.invalid", 80), tunnel=TUNNEL, proxies=(proxy,))
        (finding,) = look_at_way(settings)
        self.assertEqual((finding.name, finding.state), ("way", State.OK))
        self.assertIn("proxy:3128", finding.text)


class AnswerTests(SynchronousTestCase):
    def test_clock(self) -> None:
        hop = Hop("answer", ok=True, text="", date="Sun, 29 Nov 2026 10:00:00 GMT")
        then = 1795946400.0
        self.assertIs(_clock(hop, then + 59).state, State.OK)
        self.assertIn("3600 s ahead of", _clock(hop, then + 3600).text)
        self.assertIn("3600 s behind", _clock(hop, then - 3600).text)
        self.assertIs(_clock(Hop("answer", ok=True, text="", date="yesterday"), then).state, State.OK)

    def test_rights(self) -> None:
        self.assertIs(_rights(Allowed("bob", "intercept,reach,env,files"), "shop").state, State.OK)
        finding = _rights(Allowed("bob", "bind,intercept,global,env"), "shop")
        self.assertIs(finding.state, State.LIMITED)
        self.assertIn("not files, reach", finding.text)
        self.assertIs(_rights(Allowed("bob", ""), "shop").state, State.FAILED)

    def test_versions(self) -> None:
        self.assertIs(_skew(rtunnel.__version__).state, State.OK)
        self.assertIn("9.9", _skew("9.9").text)
