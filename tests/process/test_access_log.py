"""The access log of a real server."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import tempfile
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import ROOT, TIMEOUT, free_port, rtunnel, wait_until
from tests.support.services import NamedService


class AccessLogTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "access.log"
        self.listen, self.entrypoint, self.tunnel = free_port(), free_port(), str(uuid4())

    def server(self) -> list[str]:
        return [
            *("server", "--listen", f"127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"pod.local={self.tunnel}"),
        ]

    def visit(self, host: str, path: str, method: str = "GET", body: bytes | None = None) -> int:
        visitor = HTTPConnection("127.0.0.1", self.entrypoint, timeout=TIMEOUT)
        visitor.request(method, path, body, headers={"Host": host, "Authorization": "Basic c2VjcmV0"})
        answer = visitor.getresponse()
        answer.read()
        visitor.close()
        return answer.status

    def lines(self) -> list[str]:
        return self.path.read_text(encoding="ascii").splitlines() if self.path.exists() else []

    def test_requests_and_rotation(self) -> None:
        service = NamedService("pod")
        self.addCleanup(service.stop)
        with rtunnel(*self.server(), "--access-log", str(self.path), "--access-log-format", "json") as server:
            server.wait_for("entrypoint on")
            client = rtunnel(
                *("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", self.tunnel),
                *("--target", f"127.0.0.1:{service.port}"),
            )
            self.addCleanup(client.stop)
            client.wait_for("joined")
            self.visit("pod.local", "/down/100000")
            self.visit("pod.local", "/up?token=hidden", "POST", b"x" * 5000)
            self.visit("other.local", "/")
            wait_until(lambda: len(self.lines()) == 3, "three lines")
            down, up, other = map(json.loads, self.lines())
            self.assertEqual((down["target"], down["status"], down["sent_bytes"]), ("/down/100000", 200, 100000))
            self.assertEqual((up["target"], up["received_bytes"], up["outcome"]), ("/up?...", 5000, "answered"))
            self.assertEqual((other["status"], other["outcome"], other["connector"]), (404, "unknown_host", None))
            self.assertEqual((down["visitor"], down["tunnel"]), ("127.0.0.1", self.tunnel[:8]))
            self.assertTrue(0 < down["first_byte"] <= down["total"] < TIMEOUT, down)
            self.assertIn(f"connector {down['connector']}", server.output)
            for secret in ("hidden", "c2VjcmV0", self.tunnel):
                self.assertNotIn(secret, self.path.read_text())

            self.path.rename(self.path.with_suffix(".1"))
            self.visit("pod.local", "/rotated")
            wait_until(lambda: len(self.lines()) == 1, "a line in the new file")
            # the last lines are written at the end
            self.visit("pod.local", "/last")
            server.send(signal.SIGTERM)
            self.assertEqual(server.wait(), 0)
        self.assertEqual([json.loads(line)["target"] for line in self.lines()], ["/rotated", "/last"])

    def test_page(self) -> None:
        """The command of docs/access-log.md, as it stands but for the places; the line is the one that the page shows."""
        page = (ROOT / "docs" / "access-log.md").read_text(encoding="utf-8")
        (shown,) = (line.strip() for line in page.splitlines() if line.startswith("    192.0.2.7 "))
        page = page.replace("/var/log/rtunnel/access.log", str(self.path)).replace(":8421", f":{self.listen}")
        page = page.replace("--entrypoint :80", f"--entrypoint :{self.entrypoint}")
        (command,) = (line.split()[1:] for line in page.splitlines() if line.startswith("    rtunnel server "))
        with rtunnel(*command) as server:
            server.wait_for("entrypoint on")
            self.visit("nginx.local", "/index.html")
            wait_until(self.lines, "a line")
        (line,) = self.lines()
        self.assertEqual(re.findall(r"[a-z]+=", line), re.findall(r"[a-z]+=", shown))
        self.assertEqual(line.split(" ")[5:8], shown.split(" ")[5:8])

    def test_text_on_stdout(self) -> None:
        with rtunnel(*self.server(), "--access-log", "-") as server:
            server.wait_for("entrypoint on")
            self.visit("pod.local", "/x")
            server.wait_for('"GET /x HTTP/1.1" 503 ')

    def test_cannot_be_opened(self) -> None:
        words: list[Any] = [sys.executable, "-m", "rtunnel", *self.server(), "--access-log", str(self.path.parent)]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(ended.returncode, 1)
        self.assertEqual(ended.stderr, f"rtunnel: the access log cannot be written to {self.path.parent}: Is a directory\n")
