"""The visitor: all its requests use one keep-alive connection, which shows that each is routed by itself."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from time import monotonic, sleep

from rtunnel.demo.shares import Side

__all__ = ["Visitor", "answers"]

TIMEOUT = 10.0
"""Seconds after which a request without an answer has failed."""
PROBE_TIMEOUT = 1.0
"""Seconds for a process to answer a probe."""


class Visitor:
    """Sends GET requests to an entrypoint, one after another, and opens a new connection only when the last one was lost.

    :param port: the entrypoint's port on loopback.
    :param host: the ``Host`` header.
    """

    def __init__(self, port: int, host: str) -> None:
        self.connections = 0
        self._headers = {"Host": host}
        self._connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._next = 0.0

    def pace(self, interval: float) -> None:
        """Wait until the next request may be sent.

        :param interval: seconds from one request to the next.
        """
        now = monotonic()
        if self._next > now:
            sleep(self._next - now)
        self._next = max(self._next, now) + interval

    def request(self, user: str = "") -> Side | str:
        """Send one request and wait for the answer.

        :param user: who it says that it is from, in the header ``X-User``; ``""`` for nobody.
        :return: the side that answered, or why the request failed.
        """
        if self._connection.sock is None:
            self.connections += 1
        try:
            self._connection.request("GET", "/", headers=self._headers | ({"X-User": user} if user else {}))
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()
            return str(error) or type(error).__name__
        if response.status != 200:
            return f"{response.status} {response.reason}"
        try:
            return Side(body.decode().strip())
        except ValueError:
            return "unexpected answer"

    def leave(self) -> None:
        """Close the connection."""
        self._connection.close()


def answers(port: int, path: str) -> bool:
    """Whether a service on loopback answers a GET with status 200; never raises.

    :param port: the service's port.
    :param path: the path to request.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
