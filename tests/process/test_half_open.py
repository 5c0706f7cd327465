"""Links that are dead while both ends believe in them: the laptop is in a network namespace, whose packets are really lost.

The keepalives are short; that an hour changes nothing is a matter of clocks (tests.tunnel, tests.client.test_wake).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.faults.netns import Machine
from tests.support.load import Load
from tests.support.processes import ROOT, Process, free_port, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "pod.local"
KEEPALIVE = ("--keepalive-interval=0.5", "--keepalive-timeout=2")
NOTICED = 10.0
"""Seconds in which the laptop must serve again: its own keepalive, and the first waits between attempts."""


class HalfOpenTests(TestCase):
    """The laptop has the weight 255; ten requests a second, half of them POST."""

    timeout = 120

    def setUp(self) -> None:
        self.machine = Machine()
        self.addCleanup(self.machine.close)
        self.tunnel, self.listen, self.entrypoint = str(uuid4()), free_port(), free_port()
        self.pod = NamedService("pod")
        self.addCleanup(self.pod.stop)
        self.server = self.started(
            rtunnel(
                "server",
                f"--listen=ws://{self.machine.gateway}:{self.listen}/ws",
                f"--entrypoint=127.0.0.1:{self.entrypoint}",
                f"--route={HOST}={self.tunnel}",
                *KEEPALIVE,
            ),
            "entrypoint on",
        )
        self.started(rtunnel(*self.client(self.pod.port)), "joined tunnel")
        port = free_port()
        target = Process([*self.machine.prefix, sys.executable, "-m", "tests.faults.target", "laptop", str(port)], cwd=str(ROOT))
        self.addCleanup(target.stop)
        laptop = Process([*self.machine.prefix, sys.executable, "-m", "rtunnel", *self.client(port), "--weight=255", *KEEPALIVE])
        self.laptop = self.started(laptop, "joined tunnel")

    def client(self, port: int) -> list[str]:
        return [
            "client",
            f"--server=ws://{self.machine.gateway}:{self.listen}/ws",
            f"--tunnel={self.tunnel}",
            f"--target=127.0.0.1:{port}",
            "--backoff-max=1",
        ]

    def started(self, process: Process, text: str) -> Process:
        self.addCleanup(process.stop)
        process.wait_for(text)
        return process

    def served(self, load: Load, by: str, since: float) -> float:
        """Wait until somebody has answered a request that was sent after some moment; seconds until then."""

        def answers() -> list[float]:
            return [when for when, who in list(load.succeeded) if who == by and when > since]

        wait_until(answers, f"{by} serves\n{self.laptop.output}")
        return answers()[0] - since

    def survives(self, breaks: Callable[[], None], heals: Callable[[], None] | None = None) -> None:
        """Only what was in flight and cannot be sent again is lost; the laptop serves again soon after it can."""
        with Load(self.entrypoint, HOST, rate=10.0, visitors=5) as load:
            self.served(load, "laptop", time.monotonic())
            breaks()
            if heals is not None:
                self.served(load, "pod", time.monotonic())
                heals()
            self.laptop.wait_for("joined tunnel", 2)
            self.assertLessEqual(self.served(load, "laptop", time.monotonic()), NOTICED)
        self.assertEqual([how for _when, how in load.failed if how != "POST 502"], [])
        self.assertLessEqual(len(load.failed), 5)

    def test_closed_lid(self) -> None:
        """Every packet is dropped, for longer than both keepalives; then the same link would work again."""

        def heal() -> None:
            self.laptop.wait_for("lost the link")
            self.machine.heal()

        self.survives(self.machine.cut, heal)

    def test_forgetful_nat(self) -> None:
        """What the laptop sends comes from another port, and what the server sends goes nowhere."""
        self.machine.translate(20000, 29999)
        self.laptop.stop()
        self.laptop = self.started(Process(self.laptop.argv), "joined tunnel")
        self.survives(lambda: self.machine.translate(30000, 39999))

    def test_another_address(self) -> None:
        """As after a change from one network to another."""
        self.survives(self.machine.move)
