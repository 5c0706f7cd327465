"""A real forward proxy, HTTP CONNECT and SOCKS5 on one port, as a corporate network has it; in threads of the test's process."""

from __future__ import annotations

import base64
import select
import socket
import ssl
from collections.abc import Callable
from threading import Thread

__all__ = ["ForwardProxy"]


class ForwardProxy:
    """Connects to whoever it is asked for, and passes bytes both ways.

    :param login: ``user:password`` that it asks for; None lets everybody through.
    :param files: certificate and key, for a proxy that speaks TLS itself.
    :param names: what it resolves by itself: names of its own side of the network.
    :ivar asked: ``host:port`` of each connect.
    """

    def __init__(self, login: str | None = None, files: tuple[str, str] | None = None, names: dict[str, str] | None = None) -> None:
        self.asked: list[str] = []
        self._login = login
        self._names = names or {}
        self._context: ssl.SSLContext | None = None
        if files is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*files)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def stop(self) -> None:
        """Take no more connections."""
        # a closed socket does not wake the thread that waits for it
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            Thread(target=self._one, args=(client,), daemon=True).start()

    def _one(self, client: socket.socket) -> None:
        try:
            client.settimeout(20)
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            first = client.recv(1)
            far = self._socks(client) if first == b"\x05" else self._http(client, first)
            if far is not None:
                _pass(client, far)
        except OSError:
            pass
        finally:
            client.close()

    def _connect(self, host: str, port: int) -> socket.socket:
        self.asked.append(f"{host}:{port}")
        return socket.create_connection((self._names.get(host, host), port), 10)

    def _http(self, client: socket.socket, head: bytes) -> socket.socket | None:
        while b"\r\n\r\n" not in head:
            head += client.recv(1)
        lines = head.decode().split("\r\n")
        host, _, port = lines[0].split(" ")[1].rpartition(":")
        if self._login is not None:
            basic = base64.b64encode(self._login.encode()).decode()
            if f"Proxy-Authorization: Basic {basic}" not in lines:
                client.sendall(b'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="a"\r\nContent-Length: 0\r\n\r\n')
                return None
        try:
            far = self._connect(host.strip("[]"), int(port))
        except OSError:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return None
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        return far

    def _socks(self, client: socket.socket) -> socket.socket | None:
        methods = client.recv(client.recv(1)[0])
        wanted = 0 if self._login is None else 2
        client.sendall(bytes((5, wanted if wanted in methods else 255)))
        if wanted not in methods:
            return None
        if self._login is not None:
            client.recv(1)
            user = client.recv(client.recv(1)[0]).decode()
            password = client.recv(client.recv(1)[0]).decode()
            good = f"{user}:{password}" == self._login
            client.sendall(bytes((1, 0 if good else 1)))
            if not good:
                return None
        _, _, _, kind = client.recv(4)
        readers: dict[int, Callable[[], str]] = {
            1: lambda: socket.inet_ntop(socket.AF_INET, client.recv(4)),
            3: lambda: client.recv(client.recv(1)[0]).decode(),
            4: lambda: socket.inet_ntop(socket.AF_INET6, client.recv(16)),
        }
        host = readers[kind]()
        port = int.from_bytes(client.recv(2))
        try:
            far = self._connect(host, port)
        except OSError:
            client.sendall(b"\x05\x05\x00\x01" + bytes(6))
            return None
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        return far


def _pass(near: socket.socket, far: socket.socket) -> None:
    """Pass bytes both ways until one side ends."""
    with far:
        while True:
            # TLS may have decrypted more than was asked of it, which no select sees
            ready: list[socket.socket] = [near] if isinstance(near, ssl.SSLSocket) and near.pending() else []
            if not ready:
                ready, _, _ = select.select([near, far], [], [], 60)
            if not ready:
                return
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                (far if one is near else near).sendall(data)
