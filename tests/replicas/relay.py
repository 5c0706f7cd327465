"""A relay on loopback that can be cut: a partition between two processes that know each other by its address."""

from __future__ import annotations

import socket
from contextlib import suppress
from threading import Lock, Thread

from tests.support.processes import LOOPBACK

__all__ = ["Relay"]


class Relay:
    """Passes connections on to a port, in threads, from the moment in which it is made.

    :param target: the port of loopback that they lead to.
    :ivar port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listening.getsockname()[1]
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._cut = False
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and let none through any more."""
        with self._lock:
            self._cut = True
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let them through again."""
        with self._lock:
            self._cut = False

    def close(self) -> None:
        """End it."""
        self.cut()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self._cut:
                    raise OSError("it is cut")
                far = socket.create_connection((LOOPBACK, self._target), 5)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._open |= {near, far}
            for source, sink in ((near, far), (far, near)):
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(262144):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()
