"""The kernel's tables of sockets, and the ports that they name."""

from __future__ import annotations

import socket
import sys
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.isolation.listeners import listening_ports, read_tables

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
TCP = (
    HEAD
    + "   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n"
    + "   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 100 0 0 10 0\n"
    + "   2: 05004D7F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 3 1 0 100 0 0 10 0\n"
    + "   3: 0100007F:0BB9 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000  1000        0 4 1 0 100 0 0 10 0\n"
)
TCP6 = (
    HEAD
    + "   0: 00000000000000000000000001000000:0BBA 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0 0 0 1\n"
    + "   1: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0 0 0 1\n"
    + "   2: B80D0120000000000000000001000000:0BBB 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 0 0 0 1\n"
)


class TableTests(SynchronousTestCase):
    def test_tables(self) -> None:
        """Of loopback and of all addresses, each port once; no connections, and no other addresses."""
        if sys.byteorder != "little":
            raise SkipTest("the tables are in the order of this machine's bytes")
        self.assertEqual(listening_ports([TCP, TCP6]), [3000, 3002, 8080])

    def test_this_machine(self) -> None:
        for host in ("127.0.0.1", "::1"):
            with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
                self.assertIn(listening.getsockname()[1], listening_ports(read_tables()))

    def test_no_tables(self) -> None:
        self.assertEqual(listening_ports(read_tables(["/no/such/table"])), [])
