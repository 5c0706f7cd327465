"""Several services behind one client, with real processes."""

from __future__ import annotations

import hashlib
import shlex
import socket
import tempfile
from collections import Counter
from http.client import HTTPConnection
from threading import Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import ROOT, Process, free_port, gost, listening, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


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

    def serve(self, *client: str, hosts: str = HOST, pool: bool = False) -> Process:
        """Start a server, which opens a stream for each request unless it may pool them, and a client."""
        routes = [word for host in hosts.split() for word in ("--route", f"{host}={self.tunnel}")]
        listen = ("--listen", f"127.0.0.1:{self.tunnel_port}", "--entrypoint", f"127.0.0.1:{self.port}")
        self.server = self.start("server", *listen, *routes, *(() if pool else ("--no-pool",)))
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


class FilterTests(TargetTests):
    def test_paths_and_hosts(self) -> None:
        """Each request of a kept-alive stream goes to the target that it is for; others get a 404."""
        self.c = self.service("c")
        targets = (
            f"127.0.0.1:{self.a.port}?path=/api/&host={HOST}",
            f"127.0.0.1:{self.b.port}?path=/web/",
            f"127.0.0.1:{self.c.port}?host=other.local",
        )
        self.serve("--target", ",".join(targets), hosts=f"{HOST} other.local", pool=True)
        for _ in range(3):
            self.assertEqual(self.get("/api/1"), "200 a")
            self.assertEqual(self.get("/web/1"), "200 b")
            self.assertEqual(self.get("/api/1", "other.local"), "200 c")
            self.assertTrue(self.get("/").startswith("404 Not found"))

    def test_bodies(self) -> None:
        """Large bodies pass a followed stream whole, both ways, and the connection goes on."""
        self.serve("--target", f"127.0.0.1:{self.a.port}?path=/", pool=True)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        self.addCleanup(connection.close)
        body = bytes(range(256)) * 40_000
        for _ in range(2):
            connection.request("POST", "/", body, {"Host": HOST})
            answer = connection.getresponse().read().decode()
            self.assertEqual(answer, f"{len(body)} {hashlib.sha256(body).hexdigest()}")
            connection.request("GET", "/down/20000000", headers={"Host": HOST})
            self.assertEqual(len(connection.getresponse().read()), 20_000_000)


class TellingTests(TargetTests):
    """What a target gets to see: a socket of the test plays it."""

    def asked(self, *client: str) -> list[bytes]:
        """What a target is sent for each of two requests."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.serve("--target", f"127.0.0.1:{listening.getsockname()[1]}", *client)
            heads: list[bytes] = []

            def answer() -> None:
                for _ in range(2):
                    connection, _ = listening.accept()
                    with connection:
                        head = b""
                        while b"\r\n\r\n" not in head.replace(SIGNATURE, b""):
                            head += connection.recv(65536)
                        heads.append(head)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

            thread = Thread(target=answer)
            thread.start()
            self.assertEqual(self.visit(2), {"200 ok": 2})
            thread.join()
        return heads

    def test_proxy_protocol(self) -> None:
        for head in self.asked("--proxy-protocol", "1"):
            line, _, request = head.partition(b"\r\n")
            self.assertRegex(line, rb"^PROXY TCP4 127\.0\.0\.1 127\.0\.0\.1 [0-9]+ [0-9]+$")
            self.assertTrue(request.startswith(b"GET / HTTP/1.1\r\nHost: pod.local\r\n"))

    def test_proxy_protocol_2(self) -> None:
        for head in self.asked("--proxy-protocol", "2"):
            self.assertTrue(head.startswith(SIGNATURE + b"\x21\x11\0\x0c\x7f\0\0\x01"), head)

    def test_rewriting(self) -> None:
        for head in self.asked("--set-host", "inside.local", "--set-header", "X-Team=blue", "--remove-header", "Accept-Encoding"):
            self.assertIn(b"\r\nHost: inside.local\r\n", head)
            self.assertIn(b"\r\nX-Team: blue\r\n", head)
            self.assertIn(b"\r\nX-Forwarded-Host: pod.local\r\n", head)
            self.assertNotIn(b"Accept-Encoding", head)


class PageTests(TargetTests):
    def test_page(self) -> None:
        """The commands of docs/targets.md, as they stand but for ports and paths, and what they let a visitor see."""
        directory = tempfile.TemporaryDirectory(prefix="rtunnel-")
        self.addCleanup(directory.cleanup)
        self.service("sock", f"{directory.name}/app.sock")
        page = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8")
        for before, after in {
            "127.0.0.1:8421": f"127.0.0.1:{self.tunnel_port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.port}",
            "127.0.0.1:8001": f"127.0.0.1:{self.a.port}",
            "127.0.0.1:8002": f"127.0.0.1:{self.b.port}",
            "/run/app.sock": f"{directory.name}/app.sock",
            "10bc451e-59dc-4c70-999e-91a30813ac78": self.tunnel,
        }.items():
            page = page.replace(before, after)
        server, *clients = [line.split(maxsplit=1)[1] for line in page.splitlines() if line.startswith("    rtunnel ")]
        self.start(*shlex.split(server), "--no-pool").wait_for("entrypoint on")
        seen = []
        for command in clients:
            client = self.start(*shlex.split(command))
            client.wait_for("joined tunnel")
            if "--proxy-protocol" not in command:
                # these services do not expect a PROXY header
                seen.append(" ".join(sorted({self.get(path, "app.local") for path in ("/api/1", "/", "/")})))
            client.stop()
        self.assertEqual(seen, ["200 a 200 b", "200 a 200 b", "200 sock", "200 sock", "200 a 200 b", "200 a", "200 a"])


class GostTests(TargetTests):
    def test_real_server(self) -> None:
        """The requests that a real gost sends through one stream go each to its target, too."""
        options = f"entrypoint=127.0.0.1:{self.port}&entrypoint.keepalive=true&tunnel={HOST}:{self.tunnel}"
        server = gost("-L", f"tunnel+ws://127.0.0.1:{self.tunnel_port}?{options}")
        self.addCleanup(server.stop)
        wait_until(lambda: listening(self.tunnel_port), "gost")
        client = self.start(
            "client",
            "--target",
            f"127.0.0.1:{self.a.port}?path=/api/,127.0.0.1:{self.b.port}",
            "--set-header",
            "X-Team=blue",
            "-F",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}",
        )
        client.wait_for("joined tunnel")
        for _ in range(3):
            self.assertEqual(self.get("/api/1"), "200 a")
            self.assertEqual(self.get("/"), "200 b")
