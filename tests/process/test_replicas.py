"""Two servers that share their tunnels through a real Redis; clients and visitors of ours and of gost at either of them."""

from __future__ import annotations

import hashlib
import signal
import socket
import time
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.process.test_private import echoed, visit
from tests.replicas.site import Replica, Site
from tests.replicas.visitors import Upgraded
from tests.support.authority import Authority
from tests.support.processes import Process, free_port, gost, gost_binary, rtunnel, wait_until
from tests.support.services import DatagramEchoService, EchoService

PRIVATE, NAMES = "db.svc", "dns.svc"
GONE = 6.0
"""Seconds after which a server that was killed is gone from all others: five, and a turn of the watch."""


class ReplicasCase(TestCase):
    """Two servers; what arrives at the first is served at the second, unless a test says otherwise."""

    timeout = 180

    def begin(self, *options: str, count: int = 2) -> None:
        """Start the servers."""
        self.private, self.names = str(uuid4()), str(uuid4())
        routes = (f"--route={PRIVATE}=${self.private}", f"--route={NAMES}=${self.names}", "--ready-wait=0")
        site = Site(count, options=(*routes, *options))
        self.site = site.__enter__()
        self.addCleanup(self.site.__exit__)
        self.site.wait_ready()
        self.here, self.there = self.site.replicas[:2]

    def started(self, process: Process) -> Process:
        self.addCleanup(process.stop)
        return process

    def url(self, replica: Replica, scheme: str = "tunnel+ws") -> str:
        """Where clients and visitors attach to a server."""
        return f"{scheme}://{replica.address}:{self.site.listen}"

    def join(self, replica: Replica, tunnel: str = "", target: int = 0, *options: str, scheme: str = "rtcp") -> Process:
        """A client of one of the servers."""
        client = rtunnel(
            "client",
            *("-L", f"{scheme}://:0/127.0.0.1:{target or self.site.pod.port}"),
            *("-F", f"{self.url(replica)}?tunnel.id={tunnel or self.site.tunnel}"),
            *options,
        )
        self.started(client).wait_for("joined tunnel")
        return client

    def answered(self, replica: Replica, body: bytes = b"pod") -> None:
        """Wait until a request at a server is answered."""
        wait_until(lambda: self.site.ask(replica) == (200, body), f"an answer at server {replica.number}")


class ForwardingTests(ReplicasCase):
    """What crosses from one server to the other."""

    def test_http(self) -> None:
        """Small and large, both ways, and upgraded."""
        self.begin()
        self.join(self.there)
        self.join(self.there, self.site.long)
        self.answered(self.here)
        body = bytes(range(256)) * 65536
        expected = f"{len(body)} {hashlib.sha256(body).hexdigest()}".encode()
        self.assertEqual(self.site.ask(self.here, "/", "POST", body), (200, expected))
        status, answer = self.site.ask(self.here, f"/down/{32 << 20}")
        self.assertEqual((status, len(answer)), (200, 32 << 20))
        self.assertEqual(self.site.rows(), [1, 1])
        [peer] = self.here.status()["peers"]
        self.assertEqual((peer["state"], peer["connectors"]), ("up", 2))
        self.site.lead_away(self.there)
        with Upgraded(self.site.port) as upgraded:
            wait_until(lambda: upgraded.echoes > 20, "echoes")
        self.assertEqual(upgraded.failed, "")

    def test_private(self) -> None:
        """A visitor of the first server, over TCP and UDP."""
        self.begin()
        echo, datagrams = EchoService(), DatagramEchoService()
        self.addCleanup(echo.stop)
        self.addCleanup(datagrams.stop)
        self.join(self.there, self.private, echo.port)
        self.join(self.there, self.names, datagrams.port, scheme="rudp")
        port, udp_port = free_port(), free_port(socket.SOCK_DGRAM)
        for scheme, local, host, tunnel in (
            ("tcp", port, PRIVATE, self.private),
            ("udp", udp_port, NAMES, self.names),
        ):
            server = f"{self.url(self.here)}?tunnel.id={tunnel}"
            self.started(rtunnel("visitor", "-L", f"{scheme}://127.0.0.1:{local}/{host}", "-F", server))
        wait_until(lambda: _echoed(port), "an echo over TCP")
        wait_until(lambda: _datagram_echoed(udp_port), "an echo over UDP")

    def test_tls_between_servers(self) -> None:
        """They know each other by certificates of one CA; one of another CA is none of them."""
        folder = Path(self.mktemp()).resolve()
        authority, stranger = Authority(folder / "ca"), Authority(folder / "other")
        certificate, key = authority.issue("servers.test", peer=True)
        self.begin(f"--peer-cert-file={certificate}", f"--peer-key-file={key}", f"--peer-ca-file={authority.ca_file}")
        self.join(self.there)
        self.answered(self.here)
        certificate, key = stranger.issue("servers.test", peer=True)
        self.here.stop()
        self.site.options = (*self.site.options, f"--peer-cert-file={certificate}", f"--peer-key-file={key}")
        self.here.start()
        self.here.running.wait_for("cannot be reached, so its connectors get no requests from here")
        self.assertEqual(self.site.ask(self.here)[0], 503)

    def test_gost(self) -> None:
        """Its client at the second server and its visitor at the first one: neither knows that there are two."""
        gost_binary()
        self.begin()
        echo = EchoService()
        self.addCleanup(echo.stop)
        for tunnel, target in ((self.site.tunnel, self.site.pod.port), (self.private, echo.port)):
            server = f"{self.url(self.there)}?tunnel.id={tunnel}&tunnel.weight=1"
            self.started(gost("-L", f"rtcp://:0/127.0.0.1:{target}", "-F", server))
        self.answered(self.here)
        port = free_port()
        self.started(gost("-L", f"tcp://127.0.0.1:{port}/{PRIVATE}", "-F", f"{self.url(self.here)}?tunnel.id={self.private}"))
        wait_until(lambda: _echoed(port), "an echo")


class FailureTests(ReplicasCase):
    """Parts that are gone."""

    def test_a_killed_server(self) -> None:
        """Its connectors are gone from the others within five seconds, and its client comes back at another one."""
        self.begin()
        self.join(self.there)
        self.answered(self.here)
        laptop = self.site.laptop("--weight=255")
        self.addCleanup(laptop.stop)
        laptop.wait_for("joined tunnel")
        wait_until(lambda: self.site.rows() == [2, 2], "both clients are known at both servers")
        begun = time.monotonic()
        self.there.kill()
        wait_until(lambda: self._rows_here() == 1, "the connectors of the killed server are gone", 2 * GONE)
        self.assertLess(time.monotonic() - begun, 2 * GONE)
        self.there.start()
        self.there.wait_ready()
        wait_until(lambda: self.site.rows() == [2, 2], "both clients are known at both servers again", 60)

    def _rows_here(self) -> int:
        tunnels = self.here.status()["tunnels"]
        return sum(tunnel["connectors"] for tunnel in tunnels if self.site.tunnel.startswith(tunnel["tunnel"]))

    def test_redis_is_gone(self) -> None:
        """Requests and joins go on; what is new elsewhere is known once it is back."""
        self.begin()
        self.join(self.there)
        self.answered(self.here)
        self.site.redis.pause()
        self.addCleanup(self.site.redis.resume)
        self.answered(self.here)
        self.join(self.here, "", 0, "--weight=2")
        self.assertEqual(self.site.rows(), [2, 1])
        self.answered(self.there)
        self.site.redis.resume()
        wait_until(lambda: self.site.rows() == [2, 2], "the one that joined meanwhile is known", 60)

    def test_a_frozen_server(self) -> None:
        """It is avoided while it is silent; what can be sent again is."""
        self.begin()
        self.join(self.there, "", 0, "--weight=254")
        self.join(self.here)
        wait_until(lambda: self.site.rows() == [2, 2], "both clients are known at both servers")
        self.there.running.send(signal.SIGSTOP)
        try:
            for _ in range(5):
                self.assertEqual(self.site.ask(self.here), (200, b"pod"))
        finally:
            self.there.running.send(signal.SIGCONT)
        wait_until(lambda: self.site.rows() == [2, 2], "it is back", 60)

    def test_wrong_secret(self) -> None:
        """A line at both ends, and no request goes astray."""
        self.begin()
        self.join(self.there)
        self.answered(self.here)
        self.here.stop()
        self.site.secret = self.site.folder / "another secret"
        self.site.secret.write_text("another secret of the servers")
        self.here.start()
        self.here.running.wait_for("it has another secret; give all servers the same --peer-secret-file")
        self.there.running.wait_for("as a peer: it does not have the secret of the peers")
        self.assertNotIn("secret of the servers", self.here.running.output + self.there.running.output)


def _echoed(port: int) -> bool:
    try:
        with visit(port) as connection:
            return echoed(connection, b"anybody there?")
    except OSError:
        return False


def _datagram_echoed(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
        visitor.settimeout(0.5)
        try:
            visitor.sendto(b"hello", ("127.0.0.1", port))
            return b"hello" in visitor.recv(100)
        except OSError:
            return False
