"""HTTP beside a real gost: all four combinations of server and client, over each transport and version of smux.

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
from tests.support.combinations import Combination, combinations
from tests.support.processes import Process, free_port, gost, gost_binary, listening, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
MIB = 1 << 20


class HttpTunnel(Combination):
    """A server with an entrypoint, a client and a service: requests go through all three.

    With TLS the certificate of the server is verified, by our client as always and by gost's because it is told to.
    """

    timeout = 120
    kind = "HTTP"

    @classmethod
    def deviation(cls) -> str:
        if cls.gosts != {"server"}:
            return ""
        return (
            "gost's server does not distinguish a visitor that left from one that sent everything; our client gives up after 30 s"
        )

    def setUp(self) -> None:
        if self.gosts:
            gost_binary()
        self.listener_keys, self.dialer_keys = self.keys()
        self.tunnel = str(uuid4())
        self.tunnel_port, self.port = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)  # type: ignore[attr-defined]
        self.server = self.start_server()
        server = self.url(f"tunnel.id={self.tunnel}&tunnel.weight=1{self.dialer_keys}")
        self.start("client", "-L", f"rtcp://:0/127.0.0.1:{self.service.port}", "-F", server)
        self.wait_for_tunnel()

    def keys(self) -> tuple[str, str]:
        """Further keys of the transport, for the URLs of server and client."""
        path = "&path=/proxy" if self.transport in ("ws", "wss") else ""
        if self.transport not in ("tls", "wss"):
            return path, path
        authority = Authority(Path(self.mktemp()).resolve())  # type: ignore[attr-defined]
        certificate, key = authority.issue("127.0.0.1")
        return f"{path}&certFile={certificate}&keyFile={key}", f"{path}&secure=true&caFile={authority.ca_file}"

    def url(self, query: str) -> str:
        """The URL of the tunnel's listener, for either end."""
        return f"tunnel+{self.transport}://127.0.0.1:{self.tunnel_port}?mux.version={self.mux_version}&{query}"

    def start(self, role: str, *arguments: str) -> Process:
        process = gost(*arguments) if role in self.gosts else rtunnel(role, *arguments)
        self.addCleanup(process.stop)  # type: ignore[attr-defined]
        return process

    def start_server(self) -> Process:
        entrypoint = f"entrypoint=127.0.0.1:{self.port}&tunnel={HOST}:{self.tunnel}"
        server = self.start("server", "-L", self.url(f"{entrypoint}{self.listener_keys}"))
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

    def check_upload(self, size: int) -> None:
        body = (bytes(range(251)) * (size // 251 + 1))[:size]
        expected = f"{size} {hashlib.sha256(body).hexdigest()}".encode()
        self.assertEqual(self.request("POST", "/", body), (200, expected))  # type: ignore[attr-defined]

    def check_download(self, size: int) -> None:
        status, body = self.request("GET", f"/down/{size}")
        self.assertEqual((status, len(body)), (200, size))  # type: ignore[attr-defined]


class HttpExchanges(HttpTunnel):
    """What holds in every combination; one test, for the processes take longer to start than all of it."""

    def test_exchanges(self) -> None:
        self.assertEqual(self.request("GET", "/"), (200, b"pod"))  # type: ignore[attr-defined]
        self.check_upload(1_000_000)
        self.check_download(MIB)
        with ThreadPoolExecutor(50) as visitors:
            answers = list(visitors.map(lambda number: self.request("GET", f"/{number}"), range(200)))
        self.assertEqual(set(answers), {(200, b"pod")})  # type: ignore[attr-defined]


class HttpTransfers(HttpTunnel):
    """What takes longer, with the version of smux that is the default of both."""

    def test_upload(self) -> None:
        self.check_upload(20 * MIB)

    def test_download(self) -> None:
        self.check_download(50 * MIB)

    def test_reconnect(self) -> None:
        """The client comes back after a restart of the server."""
        self.server.send(signal.SIGKILL)
        self.server.wait()
        self.server = self.start_server()
        self.wait_for_tunnel()


class HttpDepartures(HttpTunnel):
    """What does not hang on the transport, and takes half a minute where a gost does not say enough."""

    def test_visitor_leaves(self) -> None:
        """A visitor that leaves in the middle of a download frees the target's connection."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"/down/{500 * MIB}", headers={"Host": HOST})
        connection.getresponse().read(65536)
        connection.close()
        wait_until(self.service.cut_off.is_set, "the target sees that nobody reads", 60 if self.deviation() else 10)


# where both ends are a gost's, the tests show what they may ask of the others
globals().update(combinations(HttpExchanges))
globals().update(combinations(HttpTransfers, ("tls", "ws", "wss"), (2,)))
globals().update(combinations(HttpDepartures, ("ws",), (2,)))


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
