"""Readiness as the service manager and the probes see it."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import ask, free_port, listening, rtunnel, wait_until


class ReadyTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        path = os.path.join(directory.name, "notify")
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notified.close)
        self.notified.bind(path)
        self.notified.settimeout(20)
        self.environment = {"NOTIFY_SOCKET": path}
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port, self.admin = free_port(), free_port(), free_port()

    def server(self) -> list[str]:
        url = f"tunnel+tcp://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.port}&tunnel=pod.local:{self.tunnel}"
        return ["server", "-L", url]

    def probe(self, path: str) -> tuple[int, str]:
        return ask(self.admin, path)

    def word(self) -> str:
        return self.notified.recv(4096).decode().splitlines()[0]

    def test_server(self) -> None:
        """READY when the ports are bound, STOPPING when the end begins; the probes and the counts are there meanwhile."""
        with rtunnel(*self.server(), "--admin", f"127.0.0.1:{self.admin}", env=self.environment) as server:
            self.assertEqual(self.word(), "READY=1")
            self.assertTrue(listening(self.port) and listening(self.tunnel_port))
            self.assertEqual(self.probe("/livez")[0], 200)
            self.assertEqual(self.probe("/readyz")[0], 200)
            self.assertIn(f'rtunnel_server_connectors{{tunnel="{self.tunnel[:8]}"}} 0', self.probe("/metrics")[1])
            server.send(signal.SIGTERM)
            self.assertEqual(self.word(), "STOPPING=1")
            self.assertEqual(server.wait(), 0)

    def test_reload(self) -> None:
        """RELOADING with the time at which it began, then READY, also when the reload is refused."""
        with rtunnel(*self.server(), env=self.environment) as server:
            self.assertEqual(self.word(), "READY=1")
            server.send(signal.SIGHUP)
            reloading = self.notified.recv(4096).decode().splitlines()
            self.assertEqual(reloading[0], "RELOADING=1")
            self.assertRegex(reloading[1], r"MONOTONIC_USEC=\d+")
            self.assertEqual(self.word(), "READY=1")

    def test_client(self) -> None:
        """A client is ready when it has joined, not before, and not when its server is gone."""
        arguments = ["-L", "rtcp://:0/127.0.0.1:9", "-F", f"tunnel+tcp://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}"]
        with rtunnel("client", *arguments, "--admin", f"127.0.0.1:{self.admin}", env=self.environment) as client:
            client.wait_for("next attempt in")
            self.assertEqual(self.probe("/readyz")[0], 503)
            with rtunnel(*self.server()):
                self.assertEqual(self.word(), "READY=1")
                self.assertEqual(self.probe("/readyz")[0], 200)
            wait_until(lambda: self.probe("/readyz")[0] == 503, "the client sees that its server is gone")
            client.send(signal.SIGTERM)
            self.assertEqual(client.wait(), 0)
