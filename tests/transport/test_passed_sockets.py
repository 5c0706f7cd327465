"""Sockets that the service manager has passed: which are taken, and for which addresses."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from fcntl import F_DUPFD, fcntl

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.passed_sockets import PassedSocket, PassedSockets

PRINT = """
import os, sys
os.environ["LISTEN_PID"] = sys.argv[1] or str(os.getpid())
from twisted.internet import reactor
from rtunnel.transport.passed_sockets import PassedSockets
print(*sorted(f"{one.name} {one.port}" for one in PassedSockets.take(reactor).unused), sep=",")
"""


def far(one: socket.socket, add_cleanup: Callable[..., object]) -> int:
    """Another descriptor of a socket, far from those that it becomes in a child."""
    descriptor = fcntl(one, F_DUPFD, 50)
    add_cleanup(os.close, descriptor)
    return descriptor


class AddressTests(SynchronousTestCase):
    def passed(self, host: str) -> PassedSocket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, 0), family=family)
        self.addCleanup(listening.close)
        return PassedSocket(listening, "web")

    def test_every_address(self) -> None:
        """An option without a host means every address, in whatever way the manager has bound it."""
        for host in ("0.0.0.0", "::"):
            one = self.passed(host)
            self.assertTrue(one.is_at("", one.port))
            self.assertFalse(one.is_at("127.0.0.1", one.port))
            self.assertFalse(one.is_at("", one.port + 1))

    def test_one_address(self) -> None:
        one = self.passed("::1")
        self.assertTrue(one.is_at("0:0:0:0:0:0:0:1", one.port))
        self.assertFalse(one.is_at("", one.port))
        self.assertEqual(str(one), f"web at [::1]:{one.port}")

    def test_found_by_address(self) -> None:
        one, two = self.passed("127.0.0.1"), self.passed("127.0.0.1")
        sockets = PassedSockets([one, two])
        self.assertIs(sockets.find("127.0.0.1", two.port), two)
        self.assertIsNone(sockets.find("127.0.0.2", two.port))
        two.used = True
        self.assertEqual(sockets.unused, [one])


class EnvironmentTests(SynchronousTestCase):
    """What a process takes that gets descriptors from 3 on."""

    def taken(self, *descriptors: int, pid: str = "", **environment: str) -> str:
        # 3 and the following are made from what was opened here, as a manager does it
        redirections = " ".join(f"{number}<&{descriptor}" for number, descriptor in enumerate(descriptors, 3))
        return subprocess.run(
            ["bash", "-c", f'exec "$@" {redirections}', "bash", sys.executable, "-c", PRINT, pid],
            env={**os.environ, **environment},
            pass_fds=descriptors,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()

    def setUp(self) -> None:
        self.listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.connected = socket.create_connection(self.listening[0].getsockname())
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.datagrams.close)
        self.addCleanup(self.connected.close)
        for one in self.listening:
            self.addCleanup(one.close)
        self.descriptors = [far(one, self.addCleanup) for one in (*self.listening, self.connected, self.datagrams)]

    def test_taken(self) -> None:
        one, two = (listening.getsockname()[1] for listening in self.listening)
        self.assertEqual(
            self.taken(*self.descriptors, LISTEN_FDS="4", LISTEN_FDNAMES="web:clients:c:d"), f"clients {two},web {one}"
        )

    def test_meant_for_another_process(self) -> None:
        self.assertEqual(self.taken(*self.descriptors, pid="1", LISTEN_FDS="4", LISTEN_FDNAMES="web:clients:c:d"), "")

    def test_nothing_is_passed(self) -> None:
        for count in ("", "0", "-1", "x"):
            self.assertEqual(self.taken(*self.descriptors, LISTEN_FDS=count, LISTEN_FDNAMES=""), "")
