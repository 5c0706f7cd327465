"""The commands of docs/quickstart.md: from an invitation to a laptop that serves with the pod's environment and database."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.commands import inject, invite
from tests.process.test_reach import _Reaching
from tests.process.test_users import user_line
from tests.support.nobody import as_nobody
from tests.support.pod_network import PodNetwork
from tests.support.processes import ROOT, TIMEOUT, Process, free_port, listening, needed, rtunnel, wait_until

HOST = "shop.example.org"
PAGE = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
LIMIT = 60.0
"""Seconds from the invitation to the first answer of the laptop."""
POD_PORT = 8000
"""Of the application, in a network where nothing else listens."""
ORDERS = "create table orders (); insert into orders default values; insert into orders default values"


def command(name: str) -> list[str]:
    """The command of that name on the page."""
    (found,) = re.findall(rf"(?m)^    (rtunnel {name}\b.*)$", PAGE)
    return shlex.split(found)


class QuickstartTests(_Reaching):
    def setUp(self) -> None:
        self.network = PodNetwork()
        self.addCleanup(self.network.close)
        super().setUp()
        self.server.stop()
        self.home = Path(tempfile.mkdtemp(prefix="rtunnel-home-"))
        self.addCleanup(shutil.rmtree, self.home, ignore_errors=True)
        shutil.copytree(ROOT / "examples", self.home / "examples")
        for path in (self.home, *self.home.rglob("*")):
            shutil.chown(path, "nobody")
        self.start_pod()

    def start_pod(self) -> None:
        """The server, the pod, and a database that only the pod reaches."""
        config = self.folder / "server.yaml"
        config.write_text(
            f"listen: 0.0.0.0:{self.tunnel_port}\npath: /proxy\nentrypoint: 127.0.0.1:{self.port}\n"
            f"route: {HOST}={self.tunnel}\nusers: users\npermissions: permissions\n"
        )
        (self.folder / "users").write_text(user_line("pod", "secret of pod"))
        (self.folder / "permissions").write_text(f"bind pod {HOST}\n")
        self.invitation = self.invite()
        self.server = self.started(rtunnel("server", "--config", str(config)))
        wait_until(lambda: listening(self.port), f"the server listens\n{self.server.output}")
        database = self.postgres(self.network)
        wait_until(lambda: "ready to accept connections" in database.output, database.output)
        self.started(self.network.serve({})).wait_for("ready")
        psql = self.network.at_services(needed("psql"), "-U", "postgres", "-h", self.network.addresses["postgres"], "-qc", ORDERS)
        self.assertEqual(self.started(psql).wait(), 0, psql.output)
        (self.folder / "pod.env").write_text("GREETING=Hello\nDATABASE_URL=postgres://postgres@postgres:5432/postgres\n")
        self.started(self.network.in_pod(sys.executable, "-m", "rtunnel.demo.service", "--name", "pod", "--port", str(POD_PORT)))
        argv = [
            *(sys.executable, "-m", "rtunnel", "client", "--server", f"ws://{self.network.gateway}:{self.tunnel_port}/proxy"),
            *("--tunnel", self.tunnel, "--target", f"127.0.0.1:{POD_PORT}", "--role", "pod"),
            *("--env-source", str(self.folder / "pod.env"), "--env-allow-secret", "*", "--reach", "postgres:5432"),
        ]
        self.pod = self.started(self.network.in_pod(*argv, env={"RTUNNEL_AUTH": "pod:secret of pod"}))
        self.pod.wait_for("is known to others as")

    def invite(self) -> str:
        """What the page does at the server."""
        argv = [sys.executable, "-m", *command("invite"), "--server", f"ws://127.0.0.1:{self.tunnel_port}/proxy"]
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def as_nobody(self, *argv: str) -> list[str]:
        """A command line for a user without any right, and with an environment of their own."""
        own = {
            "HOME": str(self.home),
            "USER": "alice",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        variables = (f"{name}={value}" for name, value in own.items())
        return [needed("env"), "-i", *variables, *as_nobody(), sys.executable, "-m", *argv]

    def asked(self, cookie: str = "") -> str:
        """What a visitor sees."""
        visitor = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            visitor.request("GET", "/", headers={"Host": HOST, **({"Cookie": cookie} if cookie else {})})
            return visitor.getresponse().read().decode()
        except OSError as error:
            return str(error)
        finally:
            visitor.close()

    def test_from_the_invitation_to_the_answer(self) -> None:
        began = time.monotonic()
        login = self.as_nobody(*command("login"))
        done = subprocess.run(login, input=self.invitation, capture_output=True, text=True, check=False, cwd=self.home, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        port = str(free_port())
        words = [word.replace("3000", port) for word in command("dev")]
        dev = self.started(Process(self.as_nobody(*words), cwd=str(self.home)))
        expected = f"Hello, {os.uname().nodename}: 2 orders\n"
        wait_until(lambda: self.asked("rtunnel-session=alice") == expected, f"the laptop answers\n{dev.output}", LIMIT)
        seconds = time.monotonic() - began
        self.assertEqual(self.asked().strip(), "pod")
        self.assertIn(f"http://{HOST}/?rtunnel-session=alice", dev.output)
        dev.stop()
        self.assertEqual(self.asked("rtunnel-session=alice").strip(), "pod")
        self.assertLess(seconds, LIMIT)
        left = [path for path in Path("/tmp").glob("rtunnel-*/run-*") if path.owner() == "nobody"]
        self.assertEqual(left, [])


class PageTests(SynchronousTestCase):
    """What needs a cluster has the options that there are."""

    def test_invitation(self) -> None:
        (line,) = re.findall(r"(?m)^    kubectl get secret .* \| rtunnel invite (.*)$", PAGE)
        arguments = invite.make_parser().parse_args(shlex.split(line))
        self.assertEqual((arguments.host, arguments.auth_file), (HOST, "/dev/stdin"))

    def test_inject(self) -> None:
        (line,) = re.findall(r"(?m)^    kubectl get .* \| rtunnel inject (.*)$", PAGE)
        arguments = inject.make_parser().parse_args(shlex.split(line))
        self.assertEqual(arguments.host, HOST)
