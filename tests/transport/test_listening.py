"""Whether something listens, as the system says it."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.listening import nothing_listens

HOSTS = ("localhost", "127.0.0.1", "::1")


class ListeningTests(SynchronousTestCase):
    def silent(self, port: int) -> list[str]:
        """The local addresses at which certainly nothing listens."""
        return [host for host in HOSTS if nothing_listens(host, port)]

    @skipUnless(sys.platform == "linux", "only Linux tells")
    def test_loopback(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            self.assertEqual(self.silent(port), ["::1"])
        self.assertEqual(self.silent(port), list(HOSTS))

    @skipUnless(sys.platform == "linux" and socket.has_ipv6, "only Linux tells")
    def test_every_address(self) -> None:
        with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
            self.assertEqual(self.silent(server.getsockname()[1]), [])

    @skipUnless(sys.platform == "linux", "only Linux tells")
    def test_connected(self) -> None:
        """A connection that uses the port is no service."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            self.assertEqual(self.silent(client.getsockname()[1]), list(HOSTS))

    def test_many_connections(self) -> None:
        """They are not read, since all that listens comes first."""
        head = "  sl  local_address rem_address   st tx_queue rx_queue\n"
        listening, connection = ("   0: 0100007F:{:04X} 00000000:0000 {}\n".format for _ in range(2))
        table = Path(self.mktemp())
        table.write_text(
            head + listening(80, "0A") + listening(8080, "0A") + connection(9000, "01") * 1000 + listening(9001, "0A"),
            encoding="ascii",
        )
        found = {port: nothing_listens("127.0.0.1", port, (table,)) for port in (80, 8080, 9000, 9001)}
        self.assertEqual(found, {80: False, 8080: False, 9000: True, 9001: True})

    def test_not_known(self) -> None:
        self.assertFalse(nothing_listens("example.org", 9))
        self.assertFalse(nothing_listens("192.0.2.1", 9))
        self.assertFalse(nothing_listens("localhost", 9, (Path("/nonexistent/tcp"),)))
        self.assertFalse(nothing_listens("localhost", 9, (Path("/"),)))
