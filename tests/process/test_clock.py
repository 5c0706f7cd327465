"""The time of day is set while a server and a client run."""

from __future__ import annotations

import os
import socket
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import free_port, rtunnel
from tests.support.services import NamedService

HOST = "pod.local"
JUMPING = """
import time
real = time.time
time.time = lambda: real() + float(open({file!r}).read())
"""
"""A Python that starts with it takes the time of day to be as far off as a file says."""


class ClockTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.offset = Path(folder.name) / "offset"
        self.jump(0)
        (Path(folder.name) / "sitecustomize.py").write_text(JUMPING.format(file=str(self.offset)))
        environment = {"PYTHONPATH": os.pathsep.join([folder.name, *filter(None, [os.environ.get("PYTHONPATH")])])}
        pod = NamedService("pod")
        self.addCleanup(pod.stop)
        tunnel, listen, self.entrypoint = uuid4(), free_port(), free_port()
        words = (f"--listen=127.0.0.1:{listen}", f"--entrypoint=127.0.0.1:{self.entrypoint}", f"--route={HOST}={tunnel}")
        server = rtunnel("server", *words, "--head-timeout=1", env=environment, anew=True)
        self.addCleanup(server.stop)
        server.wait_for("entrypoint on")
        words = (f"--server=ws://127.0.0.1:{listen}", f"--tunnel={tunnel}", f"--target=127.0.0.1:{pod.port}")
        self.client = rtunnel("client", *words, env=environment, anew=True)
        self.addCleanup(self.client.stop)
        self.client.wait_for("joined tunnel")
        self.visitor = HTTPConnection("127.0.0.1", self.entrypoint, timeout=20)
        self.addCleanup(self.visitor.close)

    def jump(self, hours: float) -> None:
        self.offset.write_text(str(hours * 3600))

    def visit(self) -> None:
        """A request on the kept-alive connection."""
        self.visitor.request("GET", "/", headers={"Host": HOST})
        response = self.visitor.getresponse()
        self.assertEqual((response.status, response.read()), (200, b"pod"))

    def stalled_head(self) -> None:
        """Send half of a head; the limit of a second ends it."""
        with socket.create_connection(("127.0.0.1", self.entrypoint), timeout=20) as stalling:
            stalling.sendall(b"GET / HTTP/1.1\r\nHost: po")
            self.assertTrue(stalling.recv(4096).startswith(b"HTTP/1.1 408 "))

    def test_jumps(self) -> None:
        """Eight hours ahead nothing expires, eight hours back what has to still does."""
        self.visit()
        connection = self.visitor.sock
        for hours in (8, -8):
            self.jump(hours)
            self.stalled_head()
            self.visit()
        self.assertIs(self.visitor.sock, connection, "the connection was kept")
        self.assertNotIn("warn", self.client.output)
