"""Several services behind one client, with real processes."""

from __future__ import annotations

import tempfile
from collections import Counter
from http.client import HTTPConnection
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Process, free_port, rtunnel
from tests.support.services import NamedService

HOST = "pod.local"


class TargetTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.a, self.b = self.service("a"), self.service("b")

    def service(self, name: str, path: str | None = None) -> NamedService:
        service = NamedService(name, path)
        self.addCleanup(service.stop)
        return service

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def serve(self, *client: str, hosts: str = HOST) -> Process:
        """Start a server, which opens a stream for each request, and a client."""
        routes = [word for host in hosts.split() for word in ("--route", f"{host}={self.tunnel}")]
        listen = ("--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}")
        self.server = self.start("server", *listen, *routes, "--no-pool")
        self.server.wait_for("entrypoint on")
        joins = self.start("client", *client, "-F", f"tunnel+ws://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}")
        joins.wait_for("joined tunnel")
        return joins

    def get(self, path: str = "/", host: str = HOST) -> str:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            return f"{response.status} {response.read().decode()}"
        finally:
            connection.close()

    def visit(self, count: int) -> Counter[str]:
        return Counter(self.get() for _ in range(count))


class ListTests(TargetTests):
    def test_turns(self) -> None:
        """Two targets of a list have half of the streams each."""
        self.serve("-L", f"rtcp://:0/127.0.0.1:{self.a.port},127.0.0.1:{self.b.port}")
        self.assertEqual(self.visit(20), {"200 a": 10, "200 b": 10})

    def test_one_dies(self) -> None:
        """When one is down no request fails, and it has its part again when it is back."""
        client = self.serve("--target", f"127.0.0.1:{self.a.port},127.0.0.1:{self.b.port}", "--fail-timeout", "0.2s")
        self.a.stop()
        self.assertEqual(self.visit(20), {"200 b": 20})
        client.wait_for(f"target 127.0.0.1:{self.a.port} cannot be reached")

    def test_all_are_down(self) -> None:
        self.serve("--target", f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}")
        self.assertTrue(self.get().startswith("502"))

    def test_unix_sockets(self) -> None:
        """A unix socket is a target like any other, in gost's form and in ours, also in a list."""
        # of trial's own directories the path could be too long for a socket
        directory = tempfile.TemporaryDirectory(prefix="rtunnel-")
        self.addCleanup(directory.cleanup)
        path = f"{directory.name}/app.sock"
        self.service("sock", path)
        self.serve("-L", f"runix://{path}")
        self.assertEqual(self.visit(5), {"200 sock": 5})
        laptop = self.start(
            "client",
            "--server",
            f"127.0.0.1:{self.tunnel_port}",
            "--tunnel",
            self.tunnel,
            "--weight",
            "255",
            "--target",
            f"unix:{path},127.0.0.1:{self.b.port}",
        )
        laptop.wait_for("joined tunnel")
        self.assertEqual(self.visit(10), {"200 sock": 5, "200 b": 5})
