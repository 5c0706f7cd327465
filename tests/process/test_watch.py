"""A client on a terminal shows each request; elsewhere it does when it is told to."""

from __future__ import annotations

import re
import signal
from http.client import HTTPConnection
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from tests.support.processes import TIMEOUT, Process, free_port, rtunnel, wait_until
from tests.support.services import NamedService
from tests.support.terminal import OnTerminal


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        tunnel = str(uuid4())
        listen, self.entrypoint = free_port(), free_port()
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)
        server = rtunnel(
            *("server", "--listen", f"127.0.0.1:{listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"pod.local={tunnel}"),
        )
        self.addCleanup(server.stop)
        server.wait_for("entrypoint on")
        self.words = ("client", "--server", f"127.0.0.1:{listen}", "--tunnel", tunnel, "--target", f"127.0.0.1:{self.service.port}")

    def ask(self, path: str) -> None:
        visitor = HTTPConnection("127.0.0.1", self.entrypoint, timeout=TIMEOUT)
        visitor.request("GET", path, headers={"Host": "pod.local"})
        visitor.getresponse().read()
        visitor.close()

    def on_terminal(self, *options: str) -> OnTerminal:
        client = OnTerminal(*self.words, *options)
        self.addCleanup(client.stop)
        return client

    def in_pipe(self, *options: str) -> Process:
        client = rtunnel(*self.words, *options)
        self.addCleanup(client.stop)
        client.wait_for("joined tunnel")
        return client

    def test_on_a_terminal(self) -> None:
        """By default, in colours, beside the log."""
        client = self.on_terminal()
        client.wait_for("joined tunnel")
        self.ask("/cart?secret=1")
        client.wait_for("/cart?...")
        plain = re.sub(r"\x1b\[[0-9;]*m", "", client.output)
        self.assertRegex(plain, r"(?m)^\d\d:\d\d:\d\d GET /cart\?\.\.\.  200 \d+ m?s  else nobody\r$")
        self.assertIn("\x1b[32m", client.output)
        self.assertNotIn("secret", client.output)

    def test_not_wanted_there(self) -> None:
        for option in ("--quiet", "--unwatched"):
            client = self.on_terminal(option, "--name", "other")
            self.wait_until_served(client)
            self.ask("/cart")
            self.ask("/cart")
            client.stop()
            self.assertNotIn("/cart", client.output)

    def wait_until_served(self, client: OnTerminal) -> None:
        def served() -> bool:
            visitor = HTTPConnection("127.0.0.1", self.entrypoint, timeout=TIMEOUT)
            visitor.request("GET", "/", headers={"Host": "pod.local"})
            status = visitor.getresponse().status
            visitor.close()
            return status == 200

        wait_until(served, f"somebody serves: {client.output}")

    def test_in_a_pipe(self) -> None:
        watching = self.in_pipe("--watch", "--weight", "255", "--name", "laptop")
        self.ask("/items")
        watching.wait_for("/items")
        self.assertRegex(watching.output, r"(?m)^\d\d:\d\d:\d\d GET /items  200 \d+ m?s  else \S+$")
        self.assertNotIn("\x1b", watching.output)

    def test_in_a_pipe_by_default(self) -> None:
        client = self.in_pipe()
        self.ask("/cart")
        self.ask("/cart")
        client.send(signal.SIGTERM)
        self.assertEqual(client.wait(), 0)
        self.assertNotIn("/cart", client.output)

    def test_who_else_is_there(self) -> None:
        """A line when another client joins, takes over, and leaves, each with what comes here now."""
        pod = self.in_pipe("--name", "pod")
        pod.wait_for(f"pod.local -> 127.0.0.1:{self.service.port}: joined tunnel")
        pod.wait_for("you get all requests")
        half = self.in_pipe("--name", "half")
        half.wait_for("you get 1 of 2 requests (50 %)")
        pod.wait_for("half has joined as well, for weight 1")
        pod.wait_for("you get 1 of 2 requests (50 %) now")
        half.stop()
        pod.wait_for("half has left")
        pod.wait_for("you get all requests now")
        laptop = self.in_pipe("--weight", "255", "--name", "laptop")
        laptop.wait_for("you get all requests (weight 255)")
        pod.wait_for("laptop has joined as well, for weight 255")
        pod.wait_for("you get no requests: they go to laptop (weight 255) now")
        laptop.stop()
        pod.wait_for("you get all requests now", 2)
