"""A server that echoes WebSocket messages and, on the same port of UDP, datagrams: ``python -m bench.echo PORT``.

A bare epoll loop, so that the tunnels and not the echo are measured. It knows what :mod:`bench.chat` sends: the
handshake of RFC 6455 section 4.2, and masked binary messages in one frame each. A request without an upgrade is
answered with 200, which is how a tunnel's readiness is seen.
"""

from __future__ import annotations

import base64
import hashlib
import re
import select
import socket
import sys
from contextlib import suppress

from bench.proc import LOOPBACK

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY = re.compile(rb"\r\nsec-websocket-key:[ \t]*([^\r\n]+)\r\n", re.IGNORECASE)
_PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


class Peer:
    """One connection: its socket and the bytes that wait for their rest."""

    __slots__ = ("_input", "_upgraded", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._input = b""
        self._upgraded = False

    def receive(self) -> bool:
        """Read what is there and answer it.

        :returns: whether the connection goes on.
        """
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self._input += data
        return self._frames() if self._upgraded else self._handshake()

    def _handshake(self) -> bool:
        head, end, rest = self._input.partition(b"\r\n\r\n")
        if not end:
            return True
        key = _KEY.search(head + b"\r\n")
        if key is None:
            self._send(_PLAIN)
            return False
        accept = base64.b64encode(hashlib.sha1(key[1].strip() + _GUID).digest())
        self._upgraded, self._input = True, rest
        self._send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        return self._frames()

    def _frames(self) -> bool:
        data, start, answer = self._input, 0, b""
        while len(data) - start >= 2:
            length, body = data[start + 1] & 0x7F, start + 2
            if length == 126:
                length, body = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
            end = body + 4 + length
            if len(data) < end:
                break
            if data[start] != 0x82:
                return False
            header = bytes([0x82, length]) if length < 126 else b"\x82\x7e" + length.to_bytes(2, "big")
            answer += header + unmask(data[body : body + 4], data[body + 4 : end])
            start = end
        self._input = data[start:]
        if answer:
            self._send(answer)
        return True

    def _send(self, data: bytes) -> None:
        # Each visitor has one small message under way: the socket's buffer always has room for its echo.
        self.socket.send(data)


def unmask(key: bytes, data: bytes) -> bytes:
    """Apply a WebSocket mask (RFC 6455 section 5.3)."""
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")).to_bytes(size, "little")


def send_back(datagrams: socket.socket) -> None:
    """Send every datagram that waits back to where it came from; what finds no room is lost, as datagrams may be."""
    with suppress(BlockingIOError):
        while True:
            data, address = datagrams.recvfrom(65536)
            with suppress(OSError):
                datagrams.sendto(data, address)


def serve(port: int) -> None:
    """Echo on a loopback port until killed."""
    listener = socket.create_server((LOOPBACK, port), backlog=4096)
    listener.setblocking(False)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((LOOPBACK, port))
    datagrams.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    poll.register(datagrams, select.EPOLLIN)
    peers: dict[int, Peer] = {}
    while True:
        for number, _ in poll.poll():
            if number == datagrams.fileno():
                send_back(datagrams)
            elif number == listener.fileno():
                connection, _ = listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peers[connection.fileno()] = Peer(connection)
                poll.register(connection, select.EPOLLIN)
            elif not peers[number].receive():
                poll.unregister(number)
                peers.pop(number).socket.close()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
