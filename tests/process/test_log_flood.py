"""Somebody who is refused again and again does not fill the log."""

from __future__ import annotations

import signal
import socket

from twisted.trial.unittest import SynchronousTestCase

from tests.support.ids import TUNNEL
from tests.support.processes import free_port, rtunnel

TIMES = 130


class LogFloodTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """The first hundred are written, and the rest is summed up when the server stops."""
        port = free_port()
        addresses = ("--listen", f"tcp://127.0.0.1:{port}", "--entrypoint", f"127.0.0.1:{free_port()}")
        with rtunnel("server", *addresses, "--route", f"pod.local={TUNNEL}") as server:
            server.wait_for("tunnel listener")
            for _ in range(TIMES):
                with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                    stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
                    # answered, or cut: it was seen
                    stranger.recv(1000)
            server.send(signal.SIGTERM)
            self.assertEqual(server.wait(), 0)
            refused = [line for line in server.output.splitlines() if " refused 127.0.0.1" in line]
            self.assertEqual(len(refused), 101, server.output)
            self.assertRegex(refused[-1], r" \.\.\. and 29 more like it in \d+ s$")
