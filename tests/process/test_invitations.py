"""An invitation from the server to a laptop, replaced and withdrawn, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from rtunnel.profiles.invitation import Invitation
from tests.support.processes import ROOT, ask, free_port, listening, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService
from tests.support.terminal import Terminal

HOST = "shop.local"


class InvitationTests(TestCase):
    timeout = 180

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.tunnel_port, self.port = free_port(), free_port()
        self.config = self.folder / "server.yaml"
        self.config.write_text(
            f"listen: 127.0.0.1:{self.tunnel_port}\npath: /proxy\nentrypoint: 127.0.0.1:{self.port}\n"
            f"route: {HOST}={uuid4()}\nusers: users\npermissions: permissions\n",
            encoding="utf-8",
        )
        (self.folder / "permissions").write_text("admin  root  *\n", encoding="utf-8")

    def run_rtunnel(self, *argv: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return run_rtunnel(*argv, env={"XDG_CONFIG_HOME": str(self.folder / "laptop")}, cwd=str(ROOT), typed=typed)

    def invite(self, *more: str) -> str:
        done = self.run_rtunnel(
            *("invite", HOST, "--user", "bob", "--config", str(self.config), "--allow", "bind"),
            *("--server", f"ws://127.0.0.1:{self.tunnel_port}/proxy", *more),
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def status(self) -> int:
        return ask(self.port, "/", headers={"Host": HOST})[0]

    def test_from_the_line_to_a_served_request(self) -> None:
        first = self.invite("--write")
        server = rtunnel("server", "--config", str(self.config))
        self.addCleanup(server.stop)
        wait_until(lambda: listening(self.port), f"the server listens\n{server.output}")

        done = self.run_rtunnel("login", typed=first)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stderr)
        self.assertIn("the server lets you in", done.stdout)
        self.assertIn("it allows you: bind, intercept, global", done.stdout)
        service = NamedService("laptop")
        self.addCleanup(service.stop)
        client = rtunnel(
            *("client", "--profile", "shop", "--target", f"127.0.0.1:{service.port}"),
            *("--backoff-min", "50ms", "--backoff-max", "200ms"),
            env={"XDG_CONFIG_HOME": str(self.folder / "laptop")},
        )
        self.addCleanup(client.stop)
        client.wait_for("joined")
        wait_until(lambda: self.status() == 200, f"the laptop serves\n{client.output}")
        done = self.run_rtunnel("who", "shop")
        self.assertIn(HOST, done.stdout, done.stderr)
        self.assertIn("bob", done.stdout)

        done = self.run_rtunnel("doctor", "shop", "--json")
        self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
        found = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
        for name in ("connection", "server", "version of the server"):
            self.assertEqual(found[name]["state"], "ok", found)
        self.assertIn("lets the user bob in", found["server"]["text"])
        self.assertIn("bind, intercept, global; not env, files, reach", found["rights"]["text"])

        # the next one, which ends the first
        second = self.invite("--write")
        wait_until(lambda: "wrong user or password" in server.output, "the first invitation works no more")
        done = self.run_rtunnel("login", "--name", "again", typed=first)
        self.assertEqual(done.returncode, 1)
        self.assertIn("it does not know the user bob with this password", done.stderr)
        self.assertIn("nothing was kept", done.stderr)
        done = self.run_rtunnel("doctor", "shop")
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not know the user bob with this password", done.stdout)
        done = self.run_rtunnel("login", "-", typed=second)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.run_rtunnel("who", "shop").returncode, 0)
        client.send(signal.SIGHUP)
        wait_until(lambda: self.status() == 200, f"the laptop serves again\n{client.output}")

        self.invite("--withdraw")
        wait_until(lambda: self.run_rtunnel("who", "shop").returncode == 1, "the second one is withdrawn")
        for line in (first, second):
            self.assertNotIn(line.strip()[20:60], server.output)


class TerminalTests(TestCase):
    """``rtunnel login`` on a terminal."""

    timeout = 120

    def log_in(self, *argv: str) -> Terminal:
        folder = Path(self.mktemp()).absolute()
        terminal = Terminal(
            sys.executable, "-m", "rtunnel", "login", "--offline", *argv, cwd=str(ROOT), env={"XDG_CONFIG_HOME": str(folder)}
        )
        self.addCleanup(terminal.stop)
        terminal.wait_for("Invitation (it is not shown): ")
        return terminal

    def test_the_line_is_not_shown(self) -> None:
        """Whatever terminals take: the longest line there is."""
        invitation = Invitation("shop", HOST, "wss://shop.local/proxy", uuid4(), "bob", "secret", ca=(os.urandom(2600),))
        self.assertGreater(len(invitation.line), 3500)
        terminal = self.log_in()
        terminal.type(f"{invitation.line}\n")
        self.assertEqual(terminal.wait(), 0, terminal.output)
        terminal.wait_for("kept as the profile shop")
        self.assertNotIn(invitation.line[20:60], terminal.output)

    def test_interrupted(self) -> None:
        terminal = self.log_in()
        terminal.type("\x03")
        self.assertEqual(terminal.wait(), 130, terminal.output)
        terminal.wait_for("nothing was kept")
