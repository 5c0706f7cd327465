"""TLS by its server name, and HTTP, on one port: real processes, real certificates, real TLS clients."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.authority import Authority
from tests.support.hellos import client
from tests.support.processes import Process, free_port, gost, listening, needed, rtunnel, wait_until
from tests.support.services import NamedService

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
ONE, OTHERS, PLAIN = "one.local", "others.local", "plain.local"


class _Passing:
    """Two services that speak TLS, one for a name and one for a name and all below it, and one that speaks HTTP."""

    timeout = 120
    server_is_gost = False
    client_is_gost = False

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)  # type: ignore[attr-defined]
        authority = Authority(folder.name)
        self.ca_file = authority.ca_file
        self.tunnel_port, self.port = free_port(), free_port()
        certificates = {"one": authority.issue(ONE), "others": authority.issue(OTHERS, f"a.{OTHERS}", f"b.c.{OTHERS}")}
        services = [NamedService(name, tls=serving(*files)) for name, files in certificates.items()]
        services.append(NamedService("plain"))
        tunnels = [str(uuid4()) for _ in services]
        self.server = self.start_server(zip((ONE, f"*.{OTHERS}", PLAIN), tunnels, strict=True))
        for service, tunnel in zip(services, tunnels, strict=True):
            self.addCleanup(service.stop)  # type: ignore[attr-defined]
            self.start(
                self.client_is_gost,
                *("-L", f"rtcp://:0/127.0.0.1:{service.port}"),
                *("-F", f"tunnel+ws://127.0.0.1:{self.tunnel_port}?tunnel.id={tunnel}"),
            )
        for host in (ONE, OTHERS):
            wait_until(lambda host=host: self.reached(host), f"{host} can be reached")  # type: ignore[misc]
        wait_until(lambda: self.plain() == (200, b"plain"), "the service without TLS can be reached")

    def start(self, is_gost: bool, *arguments: str) -> Process:
        command = "server" if arguments[1].startswith("tunnel") else "client"
        process = gost(*arguments) if is_gost else rtunnel(command, *arguments)
        self.addCleanup(process.stop)  # type: ignore[attr-defined]
        return process

    def start_server(self, rules: Iterator[tuple[str, str]]) -> Process:
        text = ",".join(f"{host}:{tunnel}" for host, tunnel in rules)
        server = self.start(
            self.server_is_gost,
            "-L",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.port}&tunnel={text}{self.more()}",
        )
        wait_until(lambda: listening(self.port), "the entrypoint listens")
        return server

    def more(self) -> str:
        """More of the server's URL."""
        return ""

    def get(self, host: str, path: str = "/") -> tuple[int, bytes]:
        """Ask over TLS, with the certificate and its name checked against our own CA."""
        connection = HTTPSConnection(host, timeout=30, context=ssl.create_default_context(cafile=self.ca_file))
        connection._create_connection = lambda *_: self.connect()  # type: ignore[attr-defined]
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def plain(self) -> tuple[int, bytes]:
        """Ask without TLS, on the same port."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/", headers={"Host": PLAIN})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def reached(self, host: str) -> bool:
        try:
            return self.get(host)[0] == 200
        except OSError:
            return False

    def test_names(self) -> None:
        """Each name gets the service of its rule, with that one's own certificate; HTTP is where it was."""
        self.assertEqual(self.get(ONE), (200, b"one"))  # type: ignore[attr-defined]
        for host in (OTHERS, f"a.{OTHERS}", f"b.c.{OTHERS}"):
            self.assertEqual(self.get(host), (200, b"others"))  # type: ignore[attr-defined]
        self.assertEqual(self.plain(), (200, b"plain"))  # type: ignore[attr-defined]
        status, body = self.get(ONE, f"/down/{20 * MIB}")
        self.assertEqual((status, len(body)), (200, 20 * MIB))  # type: ignore[attr-defined]


def serving(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


class PassingTests(_Passing, TestCase):
    """Both ends ours."""

    def test_protocols_inside(self) -> None:
        """What is spoken inside is between the two ends: HTTP/2 is agreed upon as if they were connected."""
        context = ssl.create_default_context(cafile=self.ca_file)
        context.set_alpn_protocols(["h2"])
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context.minimum_version = context.maximum_version = version
            with context.wrap_socket(self.connect(), server_hostname=ONE) as tls:
                self.assertEqual((tls.selected_alpn_protocol(), tls.version()), ("h2", version.name.replace("v1_", "v1.")))

    def test_hello_in_pieces(self) -> None:
        """A ClientHello of which every byte is a segment of its own."""
        tls, to_client, hello = client(ONE)
        with self.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for position in range(len(hello)):
                connection.send(hello[position : position + 1])
            answered = False
            while not answered:
                to_client.write(connection.recv(65536))
                try:
                    tls.do_handshake()
                    answered = True
                except ssl.SSLWantReadError:
                    pass
            self.assertEqual(tls.selected_alpn_protocol(), "h2")

    def test_unknown_name(self) -> None:
        """A proper alert, seen by two TLS clients; and the entrypoint goes on."""
        for arguments in (("-servername", "elsewhere.local"), ("-noservername",)):
            ended = subprocess.run(
                [needed("openssl"), "s_client", "-connect", f"127.0.0.1:{self.port}", *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            self.assertNotEqual(ended.returncode, 0)
            self.assertRegex(ended.stderr, "unrecognized name.*SSL alert number 112")
        context = ssl.create_default_context(cafile=self.ca_file)
        with self.connect() as connection:
            error = self.assertRaises(ssl.SSLError, context.wrap_socket, connection, server_hostname="elsewhere.local")
        self.assertEqual(error.reason, "TLSV1_UNRECOGNIZED_NAME")
        self.assertEqual(self.get(ONE), (200, b"one"))

    def test_half_close(self) -> None:
        """The end of what a visitor sends, and the end of what it gets, pass one by one."""
        context = ssl.create_default_context(cafile=self.ca_file)
        connection = self.connect()
        with context.wrap_socket(connection, server_hostname=ONE) as tls:
            tls.sendall(b"GET /down/100000 HTTP/1.1\r\nHost: one.local\r\nConnection: close\r\n\r\n")
            # beneath TLS: a FIN, nothing else
            socket.socket.shutdown(tls, socket.SHUT_WR)
            received = b""
            while data := tls.recv(65536):
                received += data
        self.assertEqual(len(received.partition(b"\r\n\r\n")[2]), 100000)


class ProxyTests(_Passing, TestCase):
    """The same behind a balancer that says with a PROXY header who visits."""

    def more(self) -> str:
        return "&entrypoint.ProxyProtocol=127.0.0.1"

    def connect(self) -> socket.socket:
        connection = super().connect()
        connection.sendall(b"PROXY TCP4 192.0.2.33 198.51.100.1 4711 443\r\n")
        return connection

    def plain(self) -> tuple[int, bytes]:
        with self.connect() as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {PLAIN}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = b"".join(chunks(connection)).partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def test_without_a_header(self) -> None:
        """The balancer's own address does not pass for a visitor's."""
        with super().connect() as connection:
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {PLAIN}\r\n\r\n".encode())
            self.assertRaises(ConnectionResetError, connection.recv, 1)
        self.server.wait_for("refused a connection of the proxy 127.0.0.1: no PROXY header")


def chunks(connection: socket.socket) -> Iterator[bytes]:
    while data := connection.recv(65536):
        yield data


class GostClientTests(_Passing, TestCase):
    """Our server, gost's client."""

    client_is_gost = True


class GostServerTests(_Passing, TestCase):
    """Gost's server, our client."""

    server_is_gost = True


class PageTests(TestCase):
    """The commands of docs/tls-passthrough.md, as they stand but for ports that may be taken."""

    timeout = 120

    def setUp(self) -> None:
        needed("openssl")
        needed("curl")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        ports = {f":{port}": f":{free_port()}" for port in (8421, 8080, 8001, 8002)}
        self.replaced = {**ports, "rtunnel ": f"exec {sys.executable} -m rtunnel ", "openssl s_server": "exec openssl s_server"}
        self.server: Process | None = None
        self.clients: list[Process] = []

    def test_page(self) -> None:
        page = (ROOT / "docs" / "tls-passthrough.md").read_text(encoding="utf-8")
        programs = tuple(f"    {program} " for program in ("openssl", "rtunnel", "curl", "echo"))
        commands = [line.strip() for line in page.splitlines() if line.startswith(programs)]
        for before, after in self.replaced.items():
            commands = [command.replace(before, after) for command in commands]
        for command in commands:
            self.run_command(command)
        self.assertEqual(len(self.clients), 2)
        assert self.server is not None
        self.server.wait_for("1 added, 0 removed, 0 changed, 2 in force")

    def run_command(self, command: str) -> None:
        if self.server is not None and command.startswith("curl"):
            # after another start of the server its clients come back first
            self.server.wait_for("joined tunnel")
        if self.server is not None and "rtunnel server" in command:
            self.server.stop()
        process = Process(["bash", "-c", command], cwd=self.folder)
        self.addCleanup(process.stop)
        if "rtunnel server" in command:
            self.server = process
            process.wait_for("entrypoint on")
        elif "rtunnel client" in command:
            process.wait_for("joined tunnel")
            self.clients.append(process)
        elif "s_server" in command:
            port = int(command.partition("127.0.0.1:")[2].partition(" ")[0])
            wait_until(lambda: listening(port), command)
        elif "s_client" in command:
            self.assertEqual(process.wait(), 1)
            self.assertIn("unrecognized name", process.output)
        else:
            self.assertEqual(process.wait(), 0, f"{command}\n{process.output}")
