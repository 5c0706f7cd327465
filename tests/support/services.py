"""A target that says who it is, and does what a test needs of a service."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import ssl
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

__all__ = ["DatagramEchoService", "EchoService", "NamedService", "wide_socket"]

BLOCK = b"rtunnel!" * 8192
STALL = 0.5


class NamedService:
    """An HTTP/1.1 server on loopback, in threads of the test's own process.

    - any path: the service's name, which each answer has in ``X-Name``, too
    - ``/down/N``: N bytes
    - POST or PUT anywhere: the length and SHA-256 of the body
    - ``/wait``: answers when :attr:`go` is set
    - with ``Upgrade``: answers 101, and sends back what it gets from then on

    :param path: listen on a unix socket there instead.
    :param tls: speak HTTPS, by this context.
    """

    def __init__(self, name: str, path: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.requests = 0
        self.go = Event()
        self.cut_off = Event()
        """Set when a client has left in the middle of an answer."""
        self.stalled = Event()
        """Set when a client has taken nothing of an answer for :data:`STALL` seconds."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = path is None

            def do_GET(self) -> None:
                service.requests += 1
                if self.headers.get("Upgrade"):
                    self._echo(self.headers["Upgrade"])
                    return
                if self.path.startswith("/down/"):
                    self._down(int(self.path.rpartition("/")[2]))
                    return
                if self.path == "/wait":
                    service.go.wait(30)
                self._answer(service.name.encode())

            do_HEAD = do_DELETE = do_GET

            def do_POST(self) -> None:
                service.requests += 1
                left = int(self.headers.get("Content-Length", "0"))
                digest = hashlib.sha256()
                size = 0
                while left:
                    data = self.rfile.read(min(left, 65536))
                    if not data:
                        return
                    digest.update(data)
                    size += len(data)
                    left -= len(data)
                self._answer(f"{size} {digest.hexdigest()}".encode())

            do_PUT = do_POST

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Name", service.name)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def _echo(self, protocol: str) -> None:
                self.send_response(101)
                self.send_header("Connection", "Upgrade")
                self.send_header("Upgrade", protocol)
                self.end_headers()
                self.close_connection = True
                with suppress(OSError):
                    while data := self.connection.recv(65536):
                        self.connection.sendall(data)

            def _down(self, size: int) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(size))
                self.end_headers()
                try:
                    self._send(size)
                except OSError:
                    service.cut_off.set()
                    self.close_connection = True

            def _send(self, size: int) -> None:
                self.connection.settimeout(STALL)
                while size:
                    try:
                        size -= self.connection.send(BLOCK[: min(size, len(BLOCK))])
                    except TimeoutError:
                        service.stalled.set()
                self.connection.settimeout(None)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that goes away is part of the tests."""

        class UnixServer(Server):
            address_family = socket.AF_UNIX

            def server_bind(self) -> None:
                socketserver.TCPServer.server_bind(self)

        self._server = Server(("127.0.0.1", 0), Handler) if path is None else UnixServer(path, Handler)  # type: ignore[arg-type]
        if tls is not None:
            # the handshake is part of the first read, in the connection's own thread
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self._server.server_address[1]) if path is None else 0
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the listener and its thread."""
        self.go.set()
        self._server.shutdown()
        self._server.server_close()


class EchoService:
    """A TCP service on loopback that sends back what it gets; when its peer has ended its direction it says how much that was.

    :ivar port: where it listens.
    """

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        size = 0
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                size += len(data)
                connection.sendall(data)
            connection.sendall(f"end after {size}".encode())

    def stop(self) -> None:
        with suppress(OSError):
            # wakes the thread that waits in accept
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def wide_socket() -> socket.socket:
    """A socket of UDP on a free port of loopback, for which the system keeps many datagrams."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        made.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    made.bind(("127.0.0.1", 0))
    return made


class DatagramEchoService:
    """A UDP service on loopback that sends each datagram back.

    :ivar port: where it listens.
    """

    def __init__(self) -> None:
        self._socket = wide_socket()
        self.port: int = self._socket.getsockname()[1]
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(65535)
            if sender == self._socket.getsockname():
                return
            self._socket.sendto(data, sender)

    def stop(self) -> None:
        # its own word to itself ends the thread
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()
