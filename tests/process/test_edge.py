"""The HTTP edge with real processes: loops, hostile targets, visitors that read nothing, the end of a drain."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
from collections import Counter
from http.client import HTTPConnection
from itertools import cycle
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread
from uuid import UUID, uuid4

from twisted.trial.unittest import TestCase

from rtunnel.wire.relay import Command, RelayAddress, Request, TunnelFeature
from tests.support.processes import Process, free_port, needed, rtunnel, wait_until
from tests.support.services import NamedService

GET = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class HostileTarget(BaseRequestHandler):
    """A target that sends more than its answers: it names the request in each of them, and adds something to it a moment later."""

    def handle(self) -> None:
        kinds = cycle((b"", b"bytes\r\n\r\n", OK % (6, b"forged")))
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        with contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in received:
                    piece = self.request.recv(65536)
                    if not piece:
                        return
                    received += piece
                head, _, received = received.partition(b"\r\n\r\n")
                name = head.split(b" ")[1]
                self.request.sendall(OK % (len(name), name))
                self.request.sendall(next(kinds))


class EdgeTests(TestCase):
    """A server, a client, and visitors that are sockets."""

    timeout = 60

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.tunnel_port, self.entrypoint_port = free_port(), free_port()
        self.server = self.start(
            *("server", "--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.entrypoint_port}"),
            *("--route", f"pod.local={self.tunnel}", "--drain", "0.2s", "--stall-timeout", "1s", "--access-log", "-"),
        )
        self.server.wait_for("entrypoint on")

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def join(self, target: int) -> None:
        client = self.start(
            *("client", "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, "--target", f"127.0.0.1:{target}")
        )
        client.wait_for("joined tunnel")

    def visit(self) -> socket.socket:
        visitor = socket.create_connection(("127.0.0.1", self.entrypoint_port), 20)
        self.addCleanup(visitor.close)
        visitor.sendall(GET)
        return visitor

    def accept(self, target: socket.socket) -> socket.socket:
        connection = target.accept()[0]
        self.addCleanup(connection.close)
        return connection

    def outcomes(self, *expected: str) -> None:
        """The access log has these outcomes, in this order, and no others."""
        lines = [line for line in self.server.output.splitlines() if " outcome=" in line]
        self.assertEqual([line.partition(" outcome=")[2].partition(" ")[0] for line in lines], list(expected))

    def test_loop(self) -> None:
        """The target of the client is the entrypoint itself."""
        self.join(self.entrypoint_port)
        answer = self.visit().recv(65536)
        self.assertTrue(answer.startswith(b"HTTP/1.1 508 Loop Detected\r\n"), answer)
        wait_until(lambda: self.server.output.count(" outcome=") == 2, "two lines in the access log")
        self.outcomes("loop", "answered")

    def test_hostile_target(self) -> None:
        """Visitors get their own answers. What came too late to be known is wrong once at most, for each that asks at that time."""
        target = ThreadingTCPServer(("127.0.0.1", 0), HostileTarget)
        target.daemon_threads = True
        Thread(target=target.serve_forever, daemon=True).start()
        self.addCleanup(target.server_close)
        self.addCleanup(target.shutdown)
        self.join(target.server_address[1])
        answers: Counter[bool] = Counter()

        def ask(number: int) -> None:
            connection = HTTPConnection("127.0.0.1", self.entrypoint_port, timeout=20)
            for serial in range(50):
                connection.request("GET", f"/{number}/{serial}", headers={"Host": "pod.local"})
                answers[connection.getresponse().read() == f"/{number}/{serial}".encode()] += 1
            connection.close()

        visitors = [Thread(target=ask, args=(number,)) for number in range(4)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        self.assertEqual(answers.total(), 200)
        self.assertLessEqual(answers[False], len(visitors))
        self.assertEqual(self.server.output.count("sends more than its responses"), 1)

    def test_stalled(self) -> None:
        """A visitor that reads nothing of what its target sends without end."""
        with socket.create_server(("127.0.0.1", 0)) as target:
            self.join(target.getsockname()[1])
            self.visit()
            connection = self.accept(target)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(bytes(1 << 20))
            wait_until(lambda: " outcome=" in self.server.output, "a line in the access log")
            self.outcomes("stalled")

    def test_reset_while_paused(self) -> None:
        """A visitor whose target reads nothing of its upload, so that it is not read either, and that resets its connection."""
        self.reset(b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: %d\r\n\r\n" % (1 << 40))

    def test_visit_reset_while_paused(self) -> None:
        """The same of a visit."""
        pod = RelayAddress("pod.local", 80)
        self.reset(Request(Command.CONNECT, addresses=(pod,), tunnel=TunnelFeature(UUID(self.tunnel))).encode())

    def reset(self, beginning: bytes) -> None:
        with socket.create_server(("127.0.0.1", 0)) as target:
            self.join(target.getsockname()[1])
            visitor = socket.create_connection(("127.0.0.1", self.entrypoint_port), 20)
            visitor.sendall(beginning)
            self.accept(target)
            visitor.settimeout(1)
            with contextlib.suppress(OSError):
                while True:
                    visitor.sendall(bytes(1 << 20))
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            visitor.close()
            wait_until(lambda: " outcome=" in self.server.output, "a line in the access log")
            self.outcomes("visitor_gone")

    def test_sigterm(self) -> None:
        """Whoever still waits for the first byte when the drain is over is told so; one that reads already sees a break."""
        with socket.create_server(("127.0.0.1", 0)) as target:
            self.join(target.getsockname()[1])
            waiting = self.visit()
            self.accept(target).recv(65536)
            reading = self.visit()
            accepted = self.accept(target)
            accepted.recv(65536)
            accepted.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            wait_until(lambda: b"half" in reading.recv(65536, socket.MSG_PEEK), "the beginning of the response")
            self.server.send(signal.SIGTERM)
            answer = b"".join(iter(lambda: waiting.recv(65536), b""))
            self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
            self.assertEqual(self.server.wait(), 0)
            self.outcomes("stopped", "stopped")

    # -- HTTP/2 without TLS, with curl: what it shows

    def curl(self, *words: str) -> str:
        command = (
            needed("curl"),
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--write-out",
            " %{http_code} %{http_version}",
            *words,
        )
        done = subprocess.run(
            [*command, "--header", "Host: pod.local", f"http://127.0.0.1:{self.entrypoint_port}/"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def test_http2(self) -> None:
        said = self.curl("--http2-prior-knowledge")
        self.assertRegex(said, r"^505 HTTP Version Not Supported: This version of HTTP is not supported: use HTTP/1.1.*\n 505 2$")
        self.server.wait_for("bad_request")

    def test_http2_offer(self) -> None:
        """It is ignored, and the request served."""
        target = NamedService("pod")
        self.addCleanup(target.stop)
        client = self.start(
            "client", "--server", f"127.0.0.1:{self.tunnel_port}", "--tunnel", self.tunnel, "--target", f":{target.port}"
        )
        client.wait_for("joined tunnel")
        self.assertEqual(self.curl("--http2"), "pod 200 1.1")
