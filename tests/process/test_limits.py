"""Processes that run out of connections or descriptors: what is kept for others, and how they recover."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Process, ask, free_port, rtunnel, wait_until
from tests.support.services import NamedService

REQUEST = b"GET / HTTP/1.1\r\nHost: pod.local\r\nConnection: close\r\n\r\n"


def limited(descriptors: int, *arguments: str) -> Process:
    """Start ``rtunnel`` where the system allows it so many descriptors, and no more."""
    script = f'ulimit -n {descriptors}; exec "$@"'
    return Process(["sh", "-c", script, "sh", sys.executable, "-m", "rtunnel", *arguments])


class ServerTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port, self.admin = free_port(), free_port(), free_port()
        self.visitors: list[socket.socket] = []
        self.pod = NamedService("pod")
        self.addCleanup(self.pod.stop)
        server = limited(
            256,
            *("server", "--listen", f"tcp://127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}"),
            *("--route", f"pod.local={self.tunnel}", "--admin", f"127.0.0.1:{self.admin}"),
            *("--max-connections-per-address", "1000", "--head-timeout", "50s", "--max-handshakes-per-address", "3"),
        )
        self.server = self.enterContext(server)
        # not just listening: it opens descriptors until its reactor runs
        wait_until(lambda: self.probe("/readyz")[0] == 200, "the server is ready")

    def probe(self, path: str) -> tuple[int, str]:
        return ask(self.admin, path)

    def limit(self, name: str) -> int:
        line = next(line for line in self.probe("/metrics")[1].splitlines() if f'limits_total{{limit="{name}"}}' in line)
        return int(float(line.split()[-1]))

    def visit(self) -> socket.socket:
        visitor = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(visitor.close)
        self.visitors.append(visitor)
        return visitor

    def stay_silent(self, count: int) -> None:
        """Visit so many times without a word. Such visits give way, some before the visitor knows that it is connected."""
        for _ in range(count):
            with contextlib.suppress(ConnectionResetError):
                self.visit()

    def request(self, count: int) -> list[socket.socket]:
        """Visit so many times at once with a request each, which the server finds when it accepts the connection."""
        with self.server.stopped():
            visitors = [self.visit() for _ in range(count)]
            for visitor in visitors:
                visitor.sendall(REQUEST)
        return visitors

    @contextmanager
    def client(self) -> Iterator[Process]:
        words = ("--server", f"tcp://127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel)
        with rtunnel("client", *words, "--target", f"127.0.0.1:{self.pod.port}") as client:
            yield client

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.server.pid}/fd"))

    def test_visitors_use_up_everything(self) -> None:
        """By holding connections: the admin port answers, a client joins, and whoever has something to ask is served."""
        before = self.descriptors()
        self.stay_silent(300)
        self.server.wait_for("visitors have all of 144 connections (--max-connections)")
        self.assertEqual((self.probe("/livez")[0], self.probe("/readyz")[0], self.limit("connections")), (200, 200, 1))
        with self.client() as client:
            client.wait_for("joined tunnel")
            (last,) = self.request(1)
            self.assertTrue(last.makefile("rb").read().endswith(b"pod"))
            for visitor in self.visitors:
                visitor.close()
        wait_until(lambda: self.descriptors() <= before, "all descriptors are free again")
        self.assertLess(self.server.output.count("visitors have all of"), 10, "not a line for each")

    def test_handshakes(self) -> None:
        """One address cannot begin more than some; when one ends there is room for the next."""
        silent = [socket.create_connection(("127.0.0.1", self.tunnel_port), 20) for _ in range(3)]
        for connection in silent:
            self.addCleanup(connection.close)
        with socket.create_connection(("127.0.0.1", self.tunnel_port), 20) as one_more:
            self.assertEqual(one_more.recv(1), b"")
        self.server.wait_for("refused 127.0.0.1: 3 handshakes of it are not finished (--max-handshakes-per-address;")
        self.assertEqual(self.limit("handshakes_per_address"), 1)
        silent[0].close()
        with self.client() as client:
            client.wait_for("joined tunnel")

    def test_admin_connections(self) -> None:
        """They have some of the descriptors that are kept back, and no more: visitors and clients do not notice."""
        kept = []
        for _ in range(100):
            kept.append(socket.create_connection(("127.0.0.1", self.admin), 20))
            self.addCleanup(kept[-1].close)
        self.server.wait_for("connections to the admin endpoint wait until there is room: they have all of 32 connections")
        visitor = self.visit()
        visitor.sendall(b"GET / HTTP/1.1\r\nHost: other.local\r\nConnection: close\r\n\r\n")
        self.assertEqual(visitor.makefile("rb").read(12), b"HTTP/1.1 404")
        for connection in kept:
            connection.close()
        self.assertEqual(self.probe("/livez")[0], 200)

    def test_no_descriptor(self) -> None:
        """In spite of the arithmetic: accepting pauses, those that ask nothing give way, and it goes on by itself."""
        _, hard = resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE, (self.descriptors() + 3, hard))
        self.stay_silent(20)
        self.server.wait_for("no connection can be accepted: Too many open files")
        visitors = self.request(20)
        self.assertEqual({visitor.makefile("rb").read(12) for visitor in visitors}, {b"HTTP/1.1 503"})
        resource.prlimit(self.server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        self.assertGreaterEqual(self.limit("descriptors"), 1)
        self.assertLess(self.server.output.count("no connection can be accepted"), 10, "not a line for each")


class ClientTests(TestCase):
    timeout = 60

    def test_descriptors(self) -> None:
        """What a client has no descriptors for goes to another one, and it serves again when streams have ended."""
        tunnel, tunnel_port, port = str(uuid4()), free_port(), free_port()
        pod, laptop = NamedService("pod"), NamedService("laptop")
        self.addCleanup(pod.stop)
        self.addCleanup(laptop.stop)
        words = ("--server", f"tcp://127.0.0.1:{tunnel_port}", "--tunnel", tunnel, "--target")
        self.enterContext(
            rtunnel(
                *("server", "--listen", f"tcp://127.0.0.1:{tunnel_port}", "--entrypoint", f"127.0.0.1:{port}"),
                *("--route", f"pod.local={tunnel}"),
            )
        )
        self.enterContext(rtunnel("client", *words, f"127.0.0.1:{pod.port}")).wait_for("joined tunnel")
        client = self.enterContext(limited(94, "client", *words, f"127.0.0.1:{laptop.port}", "--weight", "255"))
        client.wait_for("joined tunnel")

        def ask(method: str, path: str) -> HTTPConnection:
            connection = HTTPConnection("127.0.0.1", port, timeout=20)
            self.addCleanup(connection.close)
            connection.request(method, path, headers={"Host": "pod.local"}, body=b"x" if method == "POST" else None)
            return connection

        waiting = [ask("GET", "/wait") for _ in range(30)]
        wait_until(lambda: laptop.requests == 30, "the laptop is full")
        # not even those that must not be sent twice are lost
        others = [ask("POST", "/") for _ in range(20)]
        self.assertEqual({other.getresponse().status for other in others}, {200})
        self.assertEqual((pod.requests, laptop.requests), (20, 30))
        self.assertEqual(client.output.count("30 streams are open, as many as the descriptors or --max-streams allow"), 1)
        laptop.go.set()
        self.assertEqual({connection.getresponse().status for connection in waiting}, {200})
        wait_until(lambda: ask("GET", "/").getresponse().read() == b"laptop", "the laptop serves again")
