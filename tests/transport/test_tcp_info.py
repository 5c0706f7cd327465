"""What the kernel says of a connection."""

from __future__ import annotations

import socket
import sys

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.tcp_info import tcp_round_trip


class RoundTripTests(SynchronousTestCase):
    def test_of_a_connection(self) -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname()) as client,
            server.accept()[0] as accepted,
        ):
            accepted.sendall(b"x")
            client.recv(1)
            seconds = tcp_round_trip(client)
            if sys.platform != "linux":
                self.assertIsNone(seconds)
            else:
                assert seconds is not None
                # the handshake was timed: loopback takes less than a second, and more than nothing
                self.assertTrue(0 < seconds < 1, seconds)

    def test_of_a_closed_one(self) -> None:
        closed = socket.socket()
        closed.close()
        self.assertIsNone(tcp_round_trip(closed))
