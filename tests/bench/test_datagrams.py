from __future__ import annotations

import socket
import time

from twisted.trial.unittest import SynchronousTestCase

from bench.datagrams import PAYLOAD, Visitor
from bench.echo import send_back


class VisitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.service.close)
        self.service.bind(("127.0.0.1", 0))
        self.visitor = Visitor(self.service.getsockname()[1])
        self.addCleanup(self.visitor.socket.close)
        self.visitor.socket.settimeout(10)

    def test_echo_is_counted_and_makes_room_for_the_next(self) -> None:
        self.visitor.send()
        self.service.setblocking(False)
        send_back(self.service)
        self.visitor.receive()
        self.assertEqual((len(self.visitor.trips), self.visitor.lost), (1, 0))
        self.assertEqual(len(self.service.recv(65536)), PAYLOAD)

    def test_lost_is_counted_and_makes_room_for_the_next(self) -> None:
        self.visitor.send()
        first, address = self.service.recvfrom(65536)
        self.visitor.give_up(time.perf_counter())
        self.assertEqual(self.visitor.lost, 1)
        self.assertEqual(len(self.service.recv(65536)), PAYLOAD)
        # its echo comes after all: it stays lost
        self.service.sendto(first, address)
        self.visitor.receive()
        self.assertEqual((len(self.visitor.trips), self.visitor.lost), (0, 1))

    def test_what_may_still_come_is_not_lost(self) -> None:
        self.visitor.send()
        self.visitor.give_up(0.0)
        self.assertEqual(self.visitor.lost, 0)
