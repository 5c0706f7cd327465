"""Large bodies and slow visitors, with real processes."""

from __future__ import annotations

import hashlib
import socket
from http.client import HTTPConnection
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import free_port, rtunnel, wait_until
from tests.support.services import NamedService

MIB = 1 << 20


class BodyTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        tunnel = str(uuid4())
        tunnel_port, self.port = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)
        self.server = rtunnel(
            "server",
            "-L",
            f"tunnel+ws://127.0.0.1:{tunnel_port}?entrypoint=127.0.0.1:{self.port}&tunnel=pod.local:{tunnel}",
        )
        self.addCleanup(self.server.stop)
        self.client = rtunnel(
            "client",
            "-L",
            f"rtcp://:0/127.0.0.1:{self.service.port}",
            "-F",
            f"tunnel+ws://127.0.0.1:{tunnel_port}?tunnel.id={tunnel}",
        )
        self.addCleanup(self.client.stop)
        self.client.wait_for("joined tunnel")

    def connect(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.addCleanup(connection.close)
        return connection

    def test_upload(self) -> None:
        """20 MB arrive whole."""
        body = bytes(range(256)) * (20 * MIB // 256)
        connection = self.connect()
        connection.request("POST", "/", body, {"Host": "pod.local"})
        answer = connection.getresponse().read().decode()
        self.assertEqual(answer, f"{len(body)} {hashlib.sha256(body).hexdigest()}")

    def test_download(self) -> None:
        """50 MB come back whole, and the connection goes on."""
        connection = self.connect()
        connection.request("GET", f"/down/{50 * MIB}", headers={"Host": "pod.local"})
        response = connection.getresponse()
        self.assertEqual(len(response.read()), 50 * MIB)
        connection.request("GET", "/", headers={"Host": "pod.local"})
        self.assertEqual(connection.getresponse().read(), b"pod")

    def test_visitor_does_not_read(self) -> None:
        """A 500 MB download that nobody reads costs neither process more than 64 MB, and others stay served."""
        self.warm_up()
        before = self.server.resident, self.client.resident
        with socket.create_connection(("127.0.0.1", self.port)) as visitor:
            visitor.sendall(b"GET /down/%d HTTP/1.1\r\nHost: pod.local\r\n\r\n" % (500 * MIB))
            wait_until(self.service.stalled.is_set, "every buffer on the way is full")
            self.warm_up()
            after = self.server.resident, self.client.resident
        for process, (old, new) in zip(("server", "client"), zip(before, after, strict=True), strict=True):
            self.assertLess(new - old, 64 * MIB, process)

    def test_visitor_leaves(self) -> None:
        """A visitor that leaves in the middle of a download frees the target's connection at once."""
        with socket.create_connection(("127.0.0.1", self.port)) as visitor:
            visitor.sendall(b"GET /down/%d HTTP/1.1\r\nHost: pod.local\r\n\r\n" % (500 * MIB))
            visitor.recv(65536)
        wait_until(self.service.cut_off.is_set, "the target sees that nobody reads")

    def warm_up(self) -> None:
        """Requests of others on the same tunnel."""
        connection = self.connect()
        for _ in range(100):
            connection.request("GET", "/", headers={"Host": "pod.local"})
            self.assertEqual(connection.getresponse().read(), b"pod")
