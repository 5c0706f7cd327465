"""The demo's small service, and the visitor."""

from __future__ import annotations

import socket
from http.client import HTTPConnection
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.demo.processes import free_ports
from rtunnel.demo.service import NamedService
from rtunnel.demo.shares import Side
from rtunnel.demo.visitor import Visitor, answers


class ServiceCase(SynchronousTestCase):
    """Runs services in threads."""

    def serve(self, name: str) -> int:
        """Start a service and return its port."""
        service = NamedService(("127.0.0.1", 0), name)
        thread = Thread(target=service.serve_forever, kwargs={"poll_interval": 0.01})
        self.patch(service.RequestHandlerClass, "log_message", lambda *_: None)
        thread.start()
        self.addCleanup(service.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(service.shutdown)
        return service.port

    def visitor(self, port: int) -> Visitor:
        visitor = Visitor(port, "nginx.local")
        self.addCleanup(visitor.leave)
        return visitor


class ServiceTests(ServiceCase):
    """What the service answers."""

    def test_get_and_head(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.serve("me"))
        self.addCleanup(connection.close)
        for method, body in (("GET", b"me\n"), ("HEAD", b""), ("GET", b"me\n")):
            connection.request(method, "/any/path?at=all")
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.read(), answer.getheader("Content-Length")), (200, body, "3"))


class VisitorTests(ServiceCase):
    """How the visitor counts answers."""

    def test_one_connection(self) -> None:
        visitor = self.visitor(self.serve("laptop"))
        self.assertEqual([visitor.request() for _ in range(5)], [Side.LAPTOP] * 5)
        self.assertEqual(visitor.connections, 1)

    def test_stranger(self) -> None:
        self.assertEqual(self.visitor(self.serve("nobody")).request(), "unexpected answer")

    def test_nothing_listens(self) -> None:
        (port,) = free_ports(1)
        visitor = self.visitor(port)
        self.assertIn("refused", visitor.request())
        self.assertIn("refused", visitor.request())
        self.assertEqual(visitor.connections, 2)


class ProbeTests(ServiceCase):
    """Probes."""

    def test_answers(self) -> None:
        self.assertTrue(answers(self.serve("pod"), "/"))

    def test_nothing_listens(self) -> None:
        self.assertFalse(answers(free_ports(1)[0], "/"))


class PortTests(SynchronousTestCase):
    """Ports to listen on."""

    def test_different_and_free(self) -> None:
        ports = free_ports(5)
        self.assertEqual(len(set(ports)), 5)
        for port in ports:
            with socket.create_server(("127.0.0.1", port)):
                pass
