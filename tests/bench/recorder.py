"""A target that keeps the first heads of the requests it answers."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_KEPT = 50
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Recorder:
    """Listens on a free port of loopback until :meth:`close`."""

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no further connection."""
        # accept() in the thread only ends by it
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with connection, suppress(OSError):
            while piece := connection.recv(65536):
                data += piece
                while b"\r\n\r\n" in data:
                    head, _, data = data.partition(b"\r\n\r\n")
                    if len(self.heads) < _KEPT:
                        self.heads.append(head.decode("ascii"))
                    connection.sendall(_ANSWER)


def fields(head: str) -> list[tuple[str, str]]:
    """The fields of a head, in order."""
    pairs = (line.partition(": ") for line in head.split("\r\n")[1:])
    return [(name, value) for name, _, value in pairs]
