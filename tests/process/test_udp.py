"""UDP in private tunnels with real processes: each role ours or a gost, over each transport and version of smux.

``RTUNNEL_TEST_GOST`` names gost's binary; without it the combinations with a gost are skipped, visibly.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.process.test_private import PrivateTunnel
from tests.support.combinations import combinations
from tests.support.processes import ROOT, Process, free_port, wait_until
from tests.support.services import DatagramEchoService, wide_socket

COUNT = 200
LARGEST = 65507
SIZES = [1 + number * 1399 // (COUNT - 1) for number in range(COUNT)]


def datagrams() -> list[bytes]:
    """Two hundred of 1 to 1400 bytes; from the fifth on each says its number, the first ones tell themselves by their size."""
    return [(struct.pack(">I", number) + b"x" * size)[:size] if size >= 4 else b"x" * size for number, size in enumerate(SIZES)]


def answers(visitor: socket.socket, patience: float) -> Iterator[bytes]:
    """What comes, until nothing came for a while, or nobody has the port."""
    visitor.settimeout(patience)
    with contextlib.suppress(TimeoutError, ConnectionRefusedError):
        while True:
            yield visitor.recv(65535)


class UdpTunnel(PrivateTunnel):
    """Server, client, visitor and an echo service of UDP."""

    kind = "UDP"
    network = "udp"
    service_class = DatagramEchoService

    def local_port(self) -> int:
        return free_port(socket.SOCK_DGRAM)

    def reachable(self) -> bool:
        with closing(self.visitor_socket()) as visitor:
            visitor.send(b"anybody there?")
            return next(answers(visitor, 0.3), b"") == b"anybody there?"

    def visitor_socket(self) -> socket.socket:
        visitor = wide_socket()
        visitor.connect(("127.0.0.1", self.port))
        return visitor

    def paced(self, visitor: socket.socket, sent: Iterable[bytes]) -> list[bytes]:
        """Send one when the one before was answered; what was not answered in time."""
        lost = []
        for datagram in sent:
            visitor.send(datagram)
            if datagram not in answers(visitor, 5):
                lost.append(datagram)
        return lost


class UdpVisits(UdpTunnel):
    """What holds in every combination."""

    @classmethod
    def deviation(cls) -> str:
        if "visitor" in cls.gosts:
            return "a gost's visitor has one answer for each of its addresses, so each datagram comes from one of its own"
        if "client" in cls.gosts:
            return "a gost's client has one answer for each association, so neither full speed nor the largest datagram is asked"
        return ""

    def test_datagrams(self) -> None:
        """None is lost when paced; at most one in twenty at full speed; the largest passes."""
        if "visitor" in self.gosts:
            # it makes a visit for each datagram, and what comes for its address as the visit ends is lost inside it
            for datagram in datagrams():
                with closing(self.visitor_socket()) as visitor:
                    self.assertEqual(self.paced(visitor, [datagram]), [])  # type: ignore[attr-defined]
            return
        with closing(self.visitor_socket()) as visitor:
            self.assertEqual(self.paced(visitor, datagrams()), [])  # type: ignore[attr-defined]
            if "client" not in self.gosts:
                self.check_full_speed(visitor)
                self.assertEqual(self.paced(visitor, [os.urandom(LARGEST), b""]), [])  # type: ignore[attr-defined]

    def check_full_speed(self, visitor: socket.socket) -> None:
        for datagram in datagrams():
            visitor.send(datagram)
        received = set()
        for answer in answers(visitor, 3):
            received.add(answer)
            if len(received) == len(set(datagrams())):
                break
        self.assertLessEqual(received, set(datagrams()))  # type: ignore[attr-defined]
        self.assertGreaterEqual(len(received), COUNT * 0.95)  # type: ignore[attr-defined]


globals().update(combinations(UdpVisits))


class AssociationTests(UdpTunnel, TestCase):
    """Ours alone."""

    def test_many_visitors(self) -> None:
        """Each address gets its own answers, all at once."""
        visitors = [self.visitor_socket() for _ in range(30)]
        for visitor in visitors:
            self.addCleanup(visitor.close)
        for turn in range(10):
            for number, visitor in enumerate(visitors):
                visitor.send(f"{number} {turn}".encode())
        for number, visitor in enumerate(visitors):
            found = answers(visitor, 5)
            self.assertEqual([next(found, b"") for _ in range(10)], [f"{number} {turn}".encode() for turn in range(10)])

    def test_client_comes_back(self) -> None:
        """A visitor has its answers again when another client has joined; in between nothing ends for good."""
        self.client.stop()
        with closing(self.visitor_socket()) as visitor:
            visitor.send(b"lost")
            self.visitor.wait_for("no client is connected for the tunnel")
            self.start_client()

            def answered() -> bool:
                visitor.send(b"found")
                return b"found" in answers(visitor, 0.3)

            wait_until(answered, "an answer")


class PageTests(TestCase):
    """The commands of docs/udp.md, as they stand but for ports that may be taken."""

    def setUp(self) -> None:
        home = tempfile.TemporaryDirectory()
        self.addCleanup(home.cleanup)
        self.home = Path(home.name)
        program = self.home / "rtunnel"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m rtunnel "$@"\n')
        program.chmod(0o755)
        self.env = {"PATH": f"{self.home}:{os.environ['PATH']}", "RTUNNEL_BACKOFF_MAX": "500ms"}

    def blocks(self) -> list[str]:
        """The page's commands, with ports of their own each time."""
        page = (ROOT / "docs" / "udp.md").read_text(encoding="utf-8")
        for before, port in {
            "8421": free_port(),
            "5353": free_port(socket.SOCK_DGRAM),
            "5300": free_port(socket.SOCK_DGRAM),
        }.items():
            page = page.replace(before, str(port))
        return re.findall(r"^```sh\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)

    def answered(self, block: str, ask: str) -> None:
        script = f"trap 'kill $(jobs -p)' EXIT\ntrap exit TERM\n{block}wait"
        process = Process(["bash", "-c", script], cwd=str(self.home), env=self.env)
        self.addCleanup(process.stop)
        process.wait_for("joined tunnel")

        def answer() -> bool:
            asked = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=30, check=False)
            return asked.stdout == "echo:hello\n"

        wait_until(answer, "the answer")

    def test_plain(self) -> None:
        plain, ask, _ = self.blocks()
        self.answered(plain, ask)

    def test_words_of_gost(self) -> None:
        _, ask, words_of_gost = self.blocks()
        self.answered(words_of_gost, ask)
