"""TLS as users have it: real processes, real certificates, files that are renewed while links live."""

from __future__ import annotations

import socket
import ssl
import sys
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.authority import Authority
from tests.support.processes import ROOT, Process, free_port, listening, needed, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"


class TlsTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()).resolve())
        self.files = self.authority.issue("localhost", file="server")
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def server(self, *more: str, scheme: str = "wss") -> Process:
        cert = ("--cert-file", self.files[0], "--key-file", self.files[1])
        server = self.start(
            *("server", "--listen", f"{scheme}://127.0.0.1:{self.tunnel_port}", *cert, *more),
            *("--entrypoint", f"127.0.0.1:{self.port}", "--route", f"{HOST}={self.tunnel}"),
        )
        wait_until(lambda: listening(self.port), "the entrypoint listens")
        return server

    def client(self, *more: str, scheme: str = "wss", ca_file: str | None = None) -> Process:
        return self.start(
            *("client", "--server", f"{scheme}://localhost:{self.tunnel_port}", "--ca-file", ca_file or self.authority.ca_file),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{self.service.port}", "--backoff-max", "0.5", *more),
        )

    def shown(self) -> bytes:
        """The certificate that the server shows to a new connection."""
        context = ssl.create_default_context(cafile=self.authority.ca_file)
        with (
            socket.create_connection(("127.0.0.1", self.tunnel_port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            return secured.getpeercert(binary_form=True) or b""

    def get(self, connection: HTTPConnection) -> tuple[int, bytes]:
        connection.request("GET", "/", headers={"Host": HOST})
        response = connection.getresponse()
        return response.status, response.read()

    def test_renewal(self) -> None:
        """A new certificate is shown to who comes next; who is there stays, and a broken file changes nothing."""
        server, client = self.server(), self.client()
        client.wait_for("joined tunnel")
        visitor = HTTPConnection("127.0.0.1", self.port, timeout=10)
        self.addCleanup(visitor.close)
        self.assertEqual(self.get(visitor), (200, b"pod"))
        first = self.shown()
        self.authority.issue("localhost", file="server")
        wait_until(lambda: self.shown() != first, "the new certificate is shown")
        second = self.shown()
        Path(self.files[1]).write_text("half a ke")

        def complained() -> bool:
            return self.shown() == second and "cannot be used, the previous one stays" in server.output

        wait_until(complained, "the broken key is in the log")
        self.assertEqual(self.get(visitor), (200, b"pod"))
        self.assertNotIn("lost the link", client.output)

    def test_client_certificates(self) -> None:
        laptops = Authority(self.authority.directory / "laptops", "laptop CA")
        server = self.server("--ca-file", laptops.ca_file, scheme="tls")
        stranger = self.client(scheme="tls")
        stranger.wait_for("cannot join: the server requires a client certificate; give --cert-file and --key-file")
        server.wait_for("refused 127.0.0.1:")
        stranger.stop()
        certificate, key = laptops.issue("laptop", client=True)
        self.client("--cert-file", certificate, "--key-file", key, scheme="tls").wait_for("joined tunnel")

    def test_wrong_authority(self) -> None:
        server = self.server()
        other = Authority(self.authority.directory / "other", "other CA")
        self.client(ca_file=other.ca_file).wait_for("cannot join: the server's certificate was issued by an untrusted CA")
        server.wait_for("the client does not trust the issuer of our certificate")

    def test_wrong_name(self) -> None:
        self.server()
        client = self.client("--tls-server-name", "other.local")
        client.wait_for("cannot join: the server's certificate is for localhost, not for other.local")

    def test_plain_to_tls_and_back(self) -> None:
        """Each wrong pair says what to write instead, at once."""
        self.server()
        plain = self.start("client", "--server", f"localhost:{self.tunnel_port}", "--tunnel", self.tunnel, "--target", ":1")
        plain.wait_for(
            "cannot join: the upgrade was answered with 400 this port speaks TLS, use wss or https; the server speaks TLS"
        )
        self.tunnel_port, self.port = free_port(), free_port()
        self.start(
            *("server", "--listen", f"ws://127.0.0.1:{self.tunnel_port}"),
            *("--entrypoint", f"127.0.0.1:{self.port}", "--route", f"{HOST}={self.tunnel}"),
        ).wait_for("entrypoint on")
        self.client().wait_for("cannot join: the server speaks plain HTTP on this port, not TLS")

    def test_warnings_at_each_start(self) -> None:
        server = self.start(
            *("server", "--listen", f"wss://127.0.0.1:{self.tunnel_port}", "--self-signed"),
            *("--entrypoint", f"127.0.0.1:{self.port}", "--route", f"{HOST}={self.tunnel}"),
        )
        server.wait_for("warn: the certificate of 127.0.0.1")
        client = self.start(
            *("client", "--server", f"wss://localhost:{self.tunnel_port}", "--no-verify"),
            *("--tunnel", self.tunnel, "--target", ":1"),
        )
        client.wait_for("warn: the certificate of localhost")
        client.wait_for("joined tunnel")

    def test_page(self) -> None:
        """The commands of docs/tls.md, as they stand but for ports that may be taken."""
        needed("openssl")
        page = (ROOT / "docs" / "tls.md").read_text(encoding="utf-8")
        home = self.authority.directory
        for before, after in {
            ":8443": f":{self.tunnel_port}",
            ":8080": f":{self.port}",
            ":8001": f":{self.service.port}",
            "rtunnel ": f"exec {sys.executable} -m rtunnel ",
        }.items():
            page = page.replace(before, after)
        server = None
        joined = 0
        for line in page.splitlines():
            command = line.strip()
            if not line.startswith("    ") or "http.server" in command:
                continue
            process = Process(["bash", "-c", command], cwd=str(home))
            self.addCleanup(process.stop)
            if "rtunnel server" in command:
                if server is not None:
                    server.stop()
                server = process
                server.wait_for("entrypoint on")
            elif "rtunnel client" in command:
                process.wait_for("joined tunnel")
                joined += 1
            else:
                self.assertEqual(process.wait(), 0, f"{command}\n{process.output}")
                if command.startswith("curl"):
                    self.assertIn("pod", process.output)
        self.assertEqual(joined, 5)

    def test_files_that_cannot_be_used(self) -> None:
        """One line, and nothing listens."""
        for command in (
            ("server", "--listen", f"wss://:{self.tunnel_port}", "--entrypoint", f":{self.port}", "--route", f"a={self.tunnel}"),
            ("client", "--server", "wss://localhost:1", "--tunnel", self.tunnel, "--target", ":1"),
        ):
            process = self.start(*command, "--cert-file", "/nowhere/cert.pem")
            self.assertEqual(process.wait(), 1)
            last = process.output.splitlines()[-1]
            self.assertIn('the file "/nowhere/cert.pem" cannot be read: No such file or directory', last)
            self.assertNotIn("Traceback", process.output)
