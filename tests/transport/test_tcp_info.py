"""What the kernel says of a connection."""

from __future__ import annotations

import socket
import struct
import sys

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.tcp_info import tcp_is_closed, tcp_round_trip


class ClosedTests(SynchronousTestCase):
    """A connection that nobody reads."""

    def test_reset(self) -> None:
        """Told at once, also while bytes wait to be read; the end of the other direction alone is none."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            accepted, _ = server.accept()
            with accepted:
                client.sendall(b"x")
                self.assertFalse(tcp_is_closed(accepted))
                client.shutdown(socket.SHUT_WR)
                self.assertFalse(tcp_is_closed(accepted))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                self.assertEqual(tcp_is_closed(accepted), sys.platform == "linux")


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
