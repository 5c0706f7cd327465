"""What the kernel says of a connection."""

from __future__ import annotations

import socket
import sys

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.tcp_info import tcp_round_trip


class Above:
    """A transport over another one, or over a socket."""

    def __init__(self, transport: object = None, socket: object = None) -> None:
        self.transport = transport
        self.socket = socket


class RoundTripTests(SynchronousTestCase):
    def test_of_a_connection(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
            server.accept()[0] as accepted,
        ):
            accepted.sendall(b"x")
            client.recv(1)
            for transport in (Above(socket=client), Above(Above(socket=client))):
                seconds = tcp_round_trip(transport)
                if sys.platform != "linux":
                    self.assertIsNone(seconds)
                else:
                    assert seconds is not None
                    # the handshake was timed: loopback takes less than a second, and more than nothing
                    self.assertTrue(0 < seconds < 1, seconds)

    def test_of_none(self) -> None:
        self.assertIsNone(tcp_round_trip(None))
        self.assertIsNone(tcp_round_trip(StringTransport()))

    def test_of_a_unix_socket(self) -> None:
        first, second = socket.socketpair()
        with first, second:
            self.assertIsNone(tcp_round_trip(Above(socket=first)))

    def test_of_a_closed_one(self) -> None:
        closed = socket.socket()
        closed.close()
        self.assertIsNone(tcp_round_trip(Above(socket=closed)))
