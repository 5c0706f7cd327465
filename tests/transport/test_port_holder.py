"""Who has bound a port, as the system says it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.port_holder import port_holder

US = f", PID {os.getpid()}"


@skipUnless(sys.platform == "linux", "only Linux tells")
class PortHolderTests(SynchronousTestCase):
    def holds(self, holder: str | None) -> None:
        self.assertTrue(holder is not None and holder.endswith(US) and len(holder) > len(US), holder)

    def test_who_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for host in ("127.0.0.1", "", "0.0.0.0", "::", "localhost"):
                self.holds(port_holder(host, port))
            self.assertIsNone(port_holder("127.0.0.2", port), "another address")
            self.assertIsNone(port_holder("127.0.0.1", port, udp=True))
        self.assertIsNone(port_holder("127.0.0.1", port))

    def test_every_address(self) -> None:
        with socket.create_server(("0.0.0.0", 0)) as server:
            self.holds(port_holder("127.0.0.1", server.getsockname()[1]))

    def test_udp(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            self.holds(port_holder("127.0.0.1", receiver.getsockname()[1], udp=True))

    def test_connected(self) -> None:
        """A connection that uses the port is not bound to it alone."""
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            self.assertIsNone(port_holder("127.0.0.1", client.getsockname()[1]))

    def test_not_told(self) -> None:
        """No such tables, or such that cannot be read."""
        folder = Path(self.mktemp())
        self.assertIsNone(port_holder("", 80, proc=folder))
        (folder / "net").mkdir(parents=True)
        (folder / "net" / "tcp").write_text("head\nnonsense\n")
        self.assertIsNone(port_holder("", 80, proc=folder))
