"""A watched file of rules with real processes: rules come and go, links of others stay."""

from __future__ import annotations

import signal
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Process, free_port, listening, rtunnel, wait_until
from tests.support.services import NamedService


class RoutesFileTests(TestCase):
    """A server whose rules all stand in a file, and a client of each of two tunnels."""

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "routes"
        self.listen, self.port = free_port(), free_port()
        self.steady, self.other = str(uuid4()), str(uuid4())
        self.write(f"steady.local={self.steady}")
        self.server = self.start(
            "server",
            "--listen",
            f"127.0.0.1:{self.listen}",
            "--entrypoint",
            f"127.0.0.1:{self.port}",
            "--routes-file",
            str(self.file),
        )
        self.server.wait_for("entrypoint on")
        self.client = self.join("steady", self.steady)
        self.client.wait_for("joined")

    def write(self, *lines: str) -> None:
        """Replace the file as a whole, as a careful program would."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        new.replace(self.file)

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def join(self, name: str, tunnel: str) -> Process:
        service = NamedService(name)
        self.addCleanup(service.stop)
        return self.start(
            *("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", tunnel, "--target", f"127.0.0.1:{service.port}"),
            *("--backoff-min", "50ms", "--backoff-max", "200ms"),
        )

    def ask(self, host: str) -> tuple[int, bytes]:
        return ask(self.port, host)

    def test_rules_come_and_go(self) -> None:
        """A client whose tunnel no rule names keeps asking, and is let in when one does; when the rule goes, so does its link."""
        other = self.join("other", self.other)
        other.wait_for("cannot join")
        self.assertEqual(self.ask("other.local")[0], 404)
        self.write(f"steady.local={self.steady}", "# came later", f"*.other.local {self.other}")
        other.wait_for("joined")
        wait_until(lambda: self.ask("a.other.local") == (200, b"other"), "the new rule is in force")
        self.write(f"steady.local={self.steady}")
        wait_until(lambda: self.ask("a.other.local")[0] == 404, "the rule is gone")
        self.server.wait_for("no ingress rule names its tunnel any longer")
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))
        self.assertEqual(self.client.output.count("joined"), 1)

    def test_broken_file(self) -> None:
        """It is told where and why, and nothing changes until it is mended."""
        self.write(f"steady.local={self.steady}", "other.local")
        self.server.wait_for(f'{self.file}:2: "other.local": is not a rule; write HOST=UUID')
        self.server.wait_for("the rules stay as they were")
        self.assertEqual(self.ask("steady.local"), (200, b"steady"))
        self.write(f"steady.local={self.steady}", f"also.local={self.steady}")
        wait_until(lambda: self.ask("also.local") == (200, b"steady"), "the mended file is in force")
        self.assertEqual(self.client.output.count("joined"), 1)

    def test_broken_file_at_the_start(self) -> None:
        self.write("other.local")
        second = self.start("server", "--listen", "127.0.0.1:0", "--entrypoint", "127.0.0.1:0", "--routes-file", str(self.file))
        self.assertEqual(second.wait(), 1)
        self.assertIn(f'{self.file}:1: "other.local": is not a rule', second.output)


class ApartTests(TestCase):
    """Entrypoints with rules of their own."""

    timeout = 120

    def test_entrypoint_apart(self) -> None:
        """Its tunnels are joined at the listener of the others; neither knows the other's hosts; SIGHUP can take it away."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        file = Path(folder.name) / "server.yaml"
        listen, port, second_port = free_port(), free_port(), free_port()
        first, second = NamedService("first"), NamedService("second")
        tunnels = str(uuid4()), str(uuid4())
        text = f"""
listeners:
  - listen: ws://127.0.0.1:{listen}
    entrypoint: 127.0.0.1:{port}
    routes: {{first.local: {tunnels[0]}}}
"""
        apart = f"""
  - entrypoint: 127.0.0.1:{second_port}
    routes: {{second.local: {tunnels[1]}}}
"""
        file.write_text(text + apart, encoding="utf-8")
        server = rtunnel("server", "-c", str(file))
        self.addCleanup(server.stop)
        server.wait_for("entrypoint on", 2)
        for service, tunnel in zip((first, second), tunnels, strict=True):
            self.addCleanup(service.stop)
            joined = rtunnel(
                *("client", "--server", f"127.0.0.1:{listen}", "--tunnel", tunnel, "--target", f"127.0.0.1:{service.port}")
            )
            self.addCleanup(joined.stop)
            joined.wait_for("joined tunnel")
        self.assertEqual(ask(port, "first.local"), (200, b"first"))
        self.assertEqual(ask(second_port, "second.local"), (200, b"second"))
        self.assertEqual((ask(port, "second.local")[0], ask(second_port, "first.local")[0]), (404, 404))
        file.write_text(text, encoding="utf-8")
        server.send(signal.SIGHUP)
        server.wait_for("no ingress rule names its tunnel any longer")
        self.assertEqual(ask(port, "first.local"), (200, b"first"))
        wait_until(lambda: not listening(second_port), "its port is closed")


def ask(port: int, host: str) -> tuple[int, bytes]:
    """Ask an entrypoint."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/", headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
