"""Visitors beside the steady load: long transfers, and a connection that has been upgraded."""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from http.client import HTTPConnection, HTTPException

from tests.replicas.site import HOST, LONG, SECURE, Site
from tests.support.load import Repeating
from tests.support.processes import LOOPBACK

__all__ = ["Datagrams", "SecureVisits", "Transfers", "Upgraded"]

PIECE = 256 * 1024


class Transfers(Repeating):
    """A download and an upload, one after the other again and again, each as fast as it takes some seconds; a context manager.

    :param port: where they go.
    :param size: bytes of each.
    :param seconds: how long each takes at least.
    :ivar done: how many ended well.
    :ivar broken: when one that failed had begun, when that was noticed, and how. An upload hears of it only when all of it was
        sent.
    """

    def __init__(self, port: int, size: int, seconds: float) -> None:
        self._port = port
        self._size = size
        self._seconds = seconds
        super().__init__(partial(self._repeat, self._download), partial(self._repeat, self._upload))
        self.done = 0
        self.broken: list[tuple[float, float, str]] = []

    @property
    def failed(self) -> list[tuple[float, str]]:
        """When one was noticed to have failed, and how."""
        return [(noticed, how) for _, noticed, how in self.broken]

    def _repeat(self, transfer: Callable[[HTTPConnection], None]) -> None:
        while not self._over.is_set():
            connection = HTTPConnection(LOOPBACK, self._port, timeout=60)
            began = time.monotonic()
            try:
                transfer(connection)
                self.done += 1
            except (OSError, HTTPException, AssertionError) as error:
                noticed = time.monotonic()
                self.broken.append((began, noticed, f"transfer after {noticed - began:.0f} s: {error!r}"))
            finally:
                connection.close()

    def _pace(self) -> Iterator[int]:
        """The sizes of the pieces, each when it is its time; in a hurry once it is over."""
        begun, moved = time.monotonic(), 0
        while moved < self._size:
            piece = min(PIECE, self._size - moved)
            yield piece
            moved += piece
            self._over.wait(max(0.0, begun + self._seconds * moved / self._size - time.monotonic()))

    def _download(self, connection: HTTPConnection) -> None:
        connection.request("GET", f"/down/{self._size}", headers={"Host": HOST})
        response = connection.getresponse()
        assert response.status == 200, response.status
        for piece in self._pace():
            got = len(response.read(piece))
            assert got == piece, f"{got} of {piece} bytes of a piece"

    def _upload(self, connection: HTTPConnection) -> None:
        digest = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            for size in self._pace():
                piece = bytes(size)
                digest.update(piece)
                yield piece

        headers = {"Host": HOST, "Content-Length": str(self._size)}
        connection.request("PUT", "/", pieces(), headers)
        response = connection.getresponse()
        answer = response.read().decode(errors="replace")
        assert response.status == 200, response.status
        assert answer == f"{self._size} {digest.hexdigest()}", answer


class Upgraded(Repeating):
    """An upgraded connection over which something goes back and forth all the time; a context manager.

    :ivar echoes: how often.
    :ivar failed: what has become of it, empty as long as it works.
    """

    def __init__(self, port: int) -> None:
        super().__init__(self._echo)
        self.echoes = 0
        self.failed = ""
        self._socket = socket.create_connection((LOOPBACK, port), 20)
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: {LONG}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._socket.recv(4096)
            assert data, head
            head += data
        assert b" 101 " in head, head

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        with suppress(OSError):
            self._socket.close()

    def _echo(self) -> None:
        try:
            while not self._over.wait(0.02):
                word = b"%016d" % self.echoes
                self._socket.sendall(word)
                got = b""
                while len(got) < len(word):
                    data = self._socket.recv(4096)
                    assert data, "it was closed"
                    got += data
                assert got == word, got
                self.echoes += 1
        except (OSError, AssertionError) as error:
            self.failed = repr(error)


class SecureVisits(Repeating):
    """Visits over TLS that is passed through, one after the other; a context manager.

    They come to the servers themselves, since the balancer would end their TLS.

    :param site: where they go.
    :param ca_file: of the service.
    :ivar done: how many ended well.
    :ivar broken: as of :class:`Transfers`.
    """

    def __init__(self, site: Site, ca_file: str) -> None:
        self._site = site
        self._context = ssl.create_default_context(cafile=ca_file)
        super().__init__(self._repeat)
        self.done = 0
        self.broken: list[tuple[float, float, str]] = []

    def _repeat(self) -> None:
        while not self._over.wait(0.05):
            began = time.monotonic()
            try:
                if self._visit():
                    self.done += 1
            except (OSError, AssertionError) as error:
                self.broken.append((began, time.monotonic(), f"TLS {error!r}"))

    def _visit(self) -> bool:
        """Ask once; returns whether there was a server to ask."""
        replica = next(iter(random.sample(there := self._site.open_to_visitors(), len(there))), None)
        if replica is None:
            return False
        with (
            socket.create_connection((replica.host, replica.entrypoint), 20) as plain,
            self._context.wrap_socket(plain, server_hostname=SECURE) as visit,
        ):
            visit.sendall(f"GET / HTTP/1.1\r\nHost: {SECURE}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := visit.recv(65536):
                answer += data
        assert answer.endswith(b"secure"), answer
        return True


class Datagrams(Repeating):
    """Datagrams to a local port, each echoed or lost; a context manager.

    :param port: the port.
    :ivar echoed: how many came back.
    :ivar lost: how many did not.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__(self._repeat)
        self.echoed = self.lost = 0

    def _repeat(self) -> None:
        number = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as visitor:
            visitor.connect((LOOPBACK, self._port))
            while not self._over.wait(0.05):
                number += 1
                if self._is_echoed(visitor, b"%09d" % number):
                    self.echoed += 1
                else:
                    self.lost += 1

    def _is_echoed(self, visitor: socket.socket, word: bytes) -> bool:
        end = time.monotonic() + 0.5
        try:
            visitor.send(word)
            while (left := end - time.monotonic()) > 0:
                visitor.settimeout(left)
                # what was given up may come late
                if word in visitor.recv(2048):
                    return True
        except OSError:
            self._over.wait(0.1)
        return False
