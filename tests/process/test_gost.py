"""Interoperation with a real gost: all four combinations of server and client, over each transport.

``RTUNNEL_TEST_GOST`` names the binary; without it the tests are skipped, visibly.
"""

from __future__ import annotations

import hashlib
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.authority import Authority
from tests.support.processes import Process, free_port, gost, listening, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
MIB = 1 << 20


class Combination:
    """The same tests for each combination; which end is whose, and over what, is said by the subclass."""

    timeout = 120
    server_is_gost = False
    client_is_gost = False
    transport = "ws"
    path = "&path=/proxy"

    def listener_keys(self) -> str:
        """Further keys for the server's URL."""
        return ""

    def dialer_keys(self) -> str:
        """Further keys for the client's."""
        return ""

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)  # type: ignore[attr-defined]
        self.server = self.start_server()
        self.start(
            self.client_is_gost,
            "-L",
            f"rtcp://:0/127.0.0.1:{self.service.port}",
            "-F",
            f"tunnel+{self.transport}://127.0.0.1:{self.tunnel_port}"
            f"?tunnel.id={self.tunnel}&tunnel.weight=1{self.path}{self.dialer_keys()}",
        )
        self.wait_for_tunnel()

    def start(self, is_gost: bool, *arguments: str) -> Process:
        command = "server" if arguments[1].startswith("tunnel") else "client"
        process = gost(*arguments) if is_gost else rtunnel(command, *arguments)
        self.addCleanup(process.stop)  # type: ignore[attr-defined]
        return process

    def start_server(self) -> Process:
        server = self.start(
            self.server_is_gost,
            "-L",
            f"tunnel+{self.transport}://127.0.0.1:{self.tunnel_port}"
            f"?entrypoint=127.0.0.1:{self.port}&tunnel={HOST}:{self.tunnel}{self.path}{self.listener_keys()}",
        )
        wait_until(lambda: listening(self.port), "the entrypoint listens")
        return server

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Host": HOST})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def reachable(self) -> bool:
        try:
            return self.request("GET", "/")[0] == 200
        except OSError:
            return False

    def wait_for_tunnel(self) -> None:
        wait_until(self.reachable, "the client has joined")

    def test_get(self) -> None:
        self.assertEqual(self.request("GET", "/"), (200, b"pod"))  # type: ignore[attr-defined]

    def test_post(self) -> None:
        self.check_upload(1_000_000)

    def test_upload(self) -> None:
        self.check_upload(20 * MIB)

    def check_upload(self, size: int) -> None:
        body = (bytes(range(251)) * (size // 251 + 1))[:size]
        expected = f"{size} {hashlib.sha256(body).hexdigest()}".encode()
        self.assertEqual(self.request("POST", "/", body), (200, expected))  # type: ignore[attr-defined]

    def test_download(self) -> None:
        status, body = self.request("GET", f"/down/{50 * MIB}")
        self.assertEqual((status, len(body)), (200, 50 * MIB))  # type: ignore[attr-defined]

    def test_many_at_once(self) -> None:
        with ThreadPoolExecutor(50) as visitors:
            answers = list(visitors.map(lambda number: self.request("GET", f"/{number}"), range(200)))
        self.assertEqual(set(answers), {(200, b"pod")})  # type: ignore[attr-defined]

    def test_reconnect(self) -> None:
        """The client comes back after a restart of the server."""
        self.server.send(signal.SIGKILL)
        self.server.wait()
        self.server = self.start_server()
        self.wait_for_tunnel()

    def test_visitor_leaves(self) -> None:
        """A visitor that leaves in the middle of a download frees the target's connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/down/{500 * MIB}", headers={"Host": HOST})
        connection.getresponse().read(65536)
        connection.close()
        wait_until(self.service.cut_off.is_set, "the target sees that nobody reads", 60)


class OursAndOurs(Combination, TestCase):
    """Both ends ours."""


class OurServerGostClient(Combination, TestCase):
    """Our server, gost's client."""

    client_is_gost = True


class GostServerOurClient(Combination, TestCase):
    """Gost's server, our client."""

    server_is_gost = True


class GostAndGost(Combination, TestCase):
    """Both ends gost's: what holds here is what the tests may ask of the others."""

    server_is_gost = client_is_gost = True


class _Tls(Combination):
    """With certificates: the server's is verified by our client as always, and by gost's when it is told to."""

    transport = "tls"
    path = ""

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()).resolve())  # type: ignore[attr-defined]
        self.certificate, self.key = self.authority.issue("127.0.0.1")
        super().setUp()

    def listener_keys(self) -> str:
        return f"&certFile={self.certificate}&keyFile={self.key}"

    def dialer_keys(self) -> str:
        return f"&secure=true&caFile={self.authority.ca_file}"


class _Wss(_Tls):
    transport = "wss"
    path = "&path=/proxy"


class OursAndOursTls(_Tls, TestCase):
    """Both ends ours, over TLS."""


class OurServerGostClientTls(_Tls, TestCase):
    """Our server, gost's client, over TLS."""

    client_is_gost = True


class GostServerOurClientTls(_Tls, TestCase):
    """Gost's server, our client, over TLS."""

    server_is_gost = True


class OursAndOursWss(_Wss, TestCase):
    """Both ends ours, over WebSocket with TLS."""


class OurServerGostClientWss(_Wss, TestCase):
    """Our server, gost's client, over WebSocket with TLS."""

    client_is_gost = True


class GostServerOurClientWss(_Wss, TestCase):
    """Gost's server, our client, over WebSocket with TLS."""

    server_is_gost = True


class ThroughGostsProxies(TestCase):
    """Our client reaches our server through gost's proxies, which ask for a password."""

    timeout = 60

    def setUp(self) -> None:
        self.authority = Authority(Path(self.mktemp()).resolve())
        certificate, key = self.authority.issue("127.0.0.1")
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.start(
            rtunnel(
                "server",
                "-L",
                f"tunnel+wss://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.port}&tunnel={HOST}:{self.tunnel}"
                f"&certFile={certificate}&keyFile={key}",
            )
        ).wait_for("entrypoint on")

    def start(self, process: Process) -> Process:
        self.addCleanup(process.stop)
        return process

    def proxy(self, scheme: str) -> str:
        """Start one; returns its URL."""
        url = f"{scheme}://ada:swordfish@127.0.0.1:{free_port()}"
        self.start(gost("-L", url))
        wait_until(lambda: listening(int(url.rpartition(":")[2])), f"gost listens as {scheme}")
        return url

    def join(self, *proxies: str) -> None:
        server = f"tunnel+wss://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}&caFile={self.authority.ca_file}"
        hops = [word for url in (*proxies, server) for word in ("-F", url)]
        self.start(rtunnel("client", "-L", "rtcp://:0/:1", *hops)).wait_for("joined tunnel")

    def test_http(self) -> None:
        self.join(self.proxy("http"))

    def test_socks(self) -> None:
        self.join(self.proxy("socks5"))

    def test_chain(self) -> None:
        self.join(self.proxy("http"), self.proxy("socks5"))
