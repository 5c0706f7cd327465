"""Private tunnels with real processes: server, client and visitor, each ours or a gost, over each transport and version of smux.

``RTUNNEL_TEST_GOST`` names gost's binary; without it the combinations with a gost are skipped, visibly.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from threading import Thread
from typing import Any, ClassVar
from uuid import uuid4

from tests.support.combinations import Combination, combinations
from tests.support.processes import Process, free_port, gost, gost_binary, listening, rtunnel, wait_until
from tests.support.services import EchoService

HOST = "echo.svc"
MB = 1_000_000
VISITORS = 30


def visit(port: int) -> socket.socket:
    """Connect to the local port of a visitor."""
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def receive(connection: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or what there is before the end."""
    data = bytearray()
    while len(data) < size and (piece := connection.recv(min(size - len(data), 65536))):
        data += piece
    return bytes(data)


def echoed(connection: socket.socket, data: bytes) -> bool:
    """Send all and receive as much, at the same time; whether it is the same."""

    def send() -> None:
        # whoever receives notices what went wrong
        with contextlib.suppress(OSError):
            connection.sendall(data)

    sender = Thread(target=send, daemon=True)
    sender.start()
    answer = receive(connection, len(data))
    sender.join(60)
    return answer == data


def payload(seed: int, size: int = MB) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(struct.pack(">II", seed, number) for number in range(size // 8))


# a gost makes a certificate of its own unasked, and does not verify any
SELF_SIGNED = {"server": "&selfSigned=true", "client": "&secure=false", "visitor": "&secure=false"}


class PrivateTunnel(Combination):
    """Server, client, visitor and an echo service.

    :cvar network: ``tcp`` or ``udp``.
    :cvar service_class: what is visited.
    """

    timeout = 120
    kind = "private TCP"
    roles = ("server", "client", "visitor")
    network: ClassVar[str] = "tcp"
    service_class: ClassVar[Any] = EchoService

    def setUp(self) -> None:
        if self.gosts:
            gost_binary()
        self.tunnel, self.tunnel_port, self.port = str(uuid4()), free_port(), self.local_port()
        self.service = self.service_class()
        self.addCleanup(self.service.stop)  # type: ignore[attr-defined]
        self.start("server", "-L", self.url("server", f"tunnel={HOST}:${self.tunnel}"))
        wait_until(lambda: listening(self.tunnel_port), "the server listens")
        self.client = self.start_client()
        server = self.url("visitor", f"tunnel.id={self.tunnel}")
        self.visitor = self.start("visitor", "-L", f"{self.network}://127.0.0.1:{self.port}/{HOST}", "-F", server)
        wait_until(self.reachable, "a visit reaches the service")

    def local_port(self) -> int:
        """A port for the visitor to open."""
        return free_port()

    def start_client(self) -> Process:
        server = self.url("client", f"tunnel.id={self.tunnel}")
        return self.start("client", "-L", f"r{self.network}://:0/127.0.0.1:{self.service.port}", "-F", server)

    def start(self, role: str, *arguments: str) -> Process:
        """Start one role, ours or gost's: both take the same URLs."""
        process = gost(*arguments) if role in self.gosts else rtunnel(role, *arguments)
        self.addCleanup(process.stop)  # type: ignore[attr-defined]
        return process

    def url(self, role: str, query: str) -> str:
        """The URL of the server, as a role writes it."""
        keys = SELF_SIGNED[role] if self.transport in ("wss", "tls") else ""
        return f"tunnel+{self.transport}://127.0.0.1:{self.tunnel_port}?mux.version={self.mux_version}&{query}{keys}"

    def reachable(self) -> bool:
        try:
            with visit(self.port) as connection:
                return echoed(connection, b"anybody there?")
        except OSError:
            return False


class TcpVisits(PrivateTunnel):
    """What holds in every combination."""

    @classmethod
    def deviation(cls) -> str:
        return "gost closes both directions of a connection as soon as one has ended, so half-close is lost" if cls.gosts else ""

    def test_visitors_at_once(self) -> None:
        """Thirty visitors, a megabyte each way; where no gost is between, each is told after its own end that all came."""
        with ThreadPoolExecutor(VISITORS) as visitors:
            answers = list(visitors.map(self.exchange, range(VISITORS)))
        # gost closes both directions when one has ended (go-gost/x internal/net/pipe.go), so what comes then is a matter of luck
        ending = b"" if self.gosts else f"end after {MB}".encode()
        self.assertEqual(answers, [(True, ending)] * VISITORS)  # type: ignore[attr-defined]

    def exchange(self, number: int) -> tuple[bool, bytes]:
        with visit(self.port) as connection:
            same = echoed(connection, payload(number))
            connection.shutdown(socket.SHUT_WR)
            return same, b"" if self.gosts else receive(connection, 100)


globals().update(combinations(TcpVisits))
