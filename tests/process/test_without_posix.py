"""A client where the parts of the system are missing that Windows does not have."""

from __future__ import annotations

import signal
import sys
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import ROOT, Process, free_port, rtunnel
from tests.support.services import NamedService

HOST = "pod.local"


class WithoutPosixTests(TestCase):
    timeout = 120

    def start(self, *words: str, poor: bool = False) -> Process:
        process = Process([sys.executable, "-m", "tests.support.without_posix", *words], cwd=str(ROOT)) if poor else rtunnel(*words)
        self.addCleanup(process.stop)
        return process

    def ended(self, *words: str) -> tuple[int, str]:
        """The exit status of a command, and what it printed."""
        process = self.start(*words, poor=True)
        status = process.wait(60)
        return status, process.output

    def test_client(self) -> None:
        """It joins, serves requests and a port of a visitor, and stops cleanly; a server starts, too."""
        service = NamedService("pod")
        self.addCleanup(service.stop)
        tunnel, entrypoint, port = str(uuid4()), free_port(), free_port()
        listen = f"ws://127.0.0.1:{free_port()}/proxy"
        routes = ("--route", f"{HOST}={tunnel}", "--route", f"pod.svc=${tunnel}")
        log = Path(self.mktemp()).absolute()
        ports = ("--listen", listen, "--entrypoint", f"127.0.0.1:{entrypoint}")
        server = self.start("server", *ports, *routes, "--access-log", str(log), poor=True)
        server.wait_for("entrypoint on")
        place = ("--server", listen, "--tunnel", tunnel)
        client = self.start("client", *place, "--target", f"127.0.0.1:{service.port}", poor=True)
        client.wait_for("joined")
        visitor = self.start("visitor", *place, "--listen", f"127.0.0.1:{port}", "--to", "pod.svc", poor=True)
        visitor.wait_for(f"127.0.0.1:{port}")
        for at in (entrypoint, port):
            connection = HTTPConnection("127.0.0.1", at, timeout=20)
            self.addCleanup(connection.close)
            connection.request("GET", "/", headers={"Host": HOST})
            self.assertEqual(connection.getresponse().read(), b"pod")
        for process in (visitor, client, server):
            process.send(signal.SIGINT)
            self.assertEqual(process.wait(30), 0)
            self.assertNotIn("Traceback", process.output)
        self.assertIn("GET / HTTP/1.1", log.read_text())

    def test_others(self) -> None:
        """Commands that end: those that cannot work there say so."""
        for words, said in [
            (("--version",), "rtunnel "),
            (("client", "--help"), "--target"),
            (("check", "examples/client.yaml"), "valid: a client"),
            (("demo",), "the demo needs Linux or macOS"),
            (("run", "shop", "--server", "ws://127.0.0.1:1", "--tunnel", str(uuid4()), "--", "x"), "on Linux and macOS only"),
            (("dev", "a.b", "--server", "ws://127.0.0.1:1", "--tunnel", str(uuid4()), "--target", ":1"), "on Linux and macOS only"),
            (("client", "--server", "ws://127.0.0.1:1", "--tunnel", "x", "--target", ":1"), "not a UUID"),
        ]:
            status, output = self.ended(*words)
            self.assertIn(said, output)
            self.assertNotIn("Traceback", output)
            self.assertEqual(status, int(said.startswith(("the demo", "not a", "on Linux"))), output)
