"""``rtunnel probe`` and ``rtunnel explain`` beside a real server: the hops that are missing, one after another."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.process.test_users import user_line
from tests.support.processes import Process, free_port, rtunnel, run_rtunnel
from tests.support.services import NamedService

HOST = "shop.localhost"


class HopTests(TestCase):
    timeout = 60

    def start(self, *words: str) -> Process:
        process = rtunnel(*words)
        self.addCleanup(process.stop)
        return process

    def run_command(self, *words: str) -> tuple[int, Any]:
        done = run_rtunnel(*words, "--json")
        return done.returncode, json.loads(done.stdout)

    def probe(self, host: str = HOST) -> tuple[int, str]:
        """The exit status and the last hop."""
        status, hops = self.run_command("probe", f"http://127.0.0.1:{self.entrypoint}/", "--header", f"Host: {host}")
        return status, hops[-1]["hop"]

    def advice(self) -> str:
        """What the last hop says."""
        _, hops = self.run_command("status", f"http://127.0.0.1:{self.entrypoint}/", "--check", "--header", f"Host: {HOST}")
        return str(hops[-1]["text"])

    def explain(self, host: str = HOST) -> tuple[int, Any]:
        """The exit status, and the status of the response or None."""
        status, document = self.run_command("explain", host, "--admin", f"127.0.0.1:{self.admin}")
        return status, document["explanations"][0]["status"]

    def test_hops(self) -> None:
        self.entrypoint, self.admin, listen, target = (free_port() for _ in range(4))
        self.assertEqual(self.probe(), (1, "connection"))
        tunnel = str(uuid4())
        server = self.start(
            *("server", "--listen", f"ws://127.0.0.1:{listen}/proxy", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"{HOST}={tunnel}", "--admin", f"127.0.0.1:{self.admin}", "--served-by", "on-request"),
            *("--response-timeout", "1"),
        )
        server.wait_for("entrypoint on")
        self.assertEqual((self.probe("other.localhost"), self.explain("other.localhost")), ((2, "rule"), (2, 404)))
        self.assertEqual((self.probe(), self.explain()), ((2, "client"), (2, 503)))
        checked, hops = self.run_command("status", f"http://127.0.0.1:{self.entrypoint}/", "--check", "--header", f"Host: {HOST}")
        self.assertEqual((checked, hops[-1]["hop"]), (2, "client"))
        join = ("client", "--server", f"ws://127.0.0.1:{listen}/proxy", "--tunnel", tunnel, "--target")
        client = self.start(*join, f"127.0.0.1:{target}")
        client.wait_for("joined tunnel")
        self.assertEqual((self.probe(), self.explain()), ((2, "target"), (0, None)))
        silent = socket.create_server(("127.0.0.1", target))
        self.addCleanup(silent.close)
        self.assertEqual(self.probe(), (2, "target"), "a target that accepts, and does not answer")
        client.stop()
        service = NamedService("the shop")
        self.addCleanup(service.stop)
        self.start(*join, f"127.0.0.1:{service.port}").wait_for("joined tunnel")
        self.assertEqual(self.probe(), (0, "target"))

    def test_a_client_that_may_not_join(self) -> None:
        """A line of the permissions is missing: it is the hop of the client, whose log says so."""
        self.entrypoint, listen = free_port(), free_port()
        tunnel = str(uuid4())
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        users, permissions = folder / "users", folder / "permissions"
        users.write_text(user_line("pod", "swordfish"))
        permissions.write_text(f"visit pod {HOST}\n")
        server = self.start(
            *("server", "--listen", f"ws://127.0.0.1:{listen}/proxy", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"{HOST}={tunnel}", "--users", str(users), "--permissions", str(permissions)),
        )
        server.wait_for("entrypoint on")
        service = NamedService("the shop")
        self.addCleanup(service.stop)
        client = rtunnel(
            *("client", "--server", f"ws://127.0.0.1:{listen}/proxy", "--tunnel", tunnel, "--target", f"127.0.0.1:{service.port}"),
            *("--backoff-min", "50ms", "--backoff-max", "200ms"),
            env={"RTUNNEL_AUTH": "pod:swordfish"},
        )
        self.addCleanup(client.stop)
        client.wait_for("forbidden (status 3)")
        self.assertEqual(self.probe(), (2, "client"))
        self.assertIn("its log says when it has joined, or why it may not", self.advice())
        permissions.write_text(f"bind pod {HOST}\n")
        client.wait_for("joined tunnel")
        self.assertEqual(self.probe(), (0, "target"))
