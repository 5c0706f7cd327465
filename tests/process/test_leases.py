"""Leases with real processes: who is there, who has to leave and why, and what a shell sees of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.process.test_users import HOST, _Case, user_line
from tests.support.processes import Process, free_port, gost, listening, rtunnel, wait_until

USERS = ("alice", "bob", "root")
PERMISSIONS = f"intercept alice,bob {HOST}\nlist,admin root {HOST}\n"


class _Asking(_Case):
    def where(self) -> tuple[str, ...]:
        return ("--server", f"ws://127.0.0.1:{self.tunnel_port}/proxy", "--tunnel", self.tunnel)

    def ask(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command that asks the server."""
        name, *rest = arguments
        return subprocess.run(
            [sys.executable, "-m", "rtunnel", name, *self.where(), *rest],
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environment(user),
        )

    def environment(self, user: str) -> dict[str, str]:
        return {**os.environ, **({"RTUNNEL_AUTH": f"{user}:secret of {user}"} if user else {})}

    def listed(self, user: str = "") -> list[dict[str, Any]]:
        asked = self.ask("list", "--json", user=user)
        *leases, done = map(json.loads, asked.stdout.splitlines())
        self.assertEqual((asked.stderr, done["kind"], done["count"]), ("", "done", len(leases)))
        return leases

    def client(self, name: str, *more: str, user: str = "") -> Process:
        """A client that has its lease."""
        client = self.begin(name, *more, user=user)
        client.wait_for("is known to others as")
        return client

    def begin(self, name: str, *more: str, user: str = "") -> Process:
        target = ("--target", f"127.0.0.1:{self.service.port}", "--name", name, "--backoff-min", "50ms")
        return self.started(rtunnel("client", *self.where(), *target, *more, env=self.environment(user)))


class LeaseTests(_Asking):
    """A server with users, and two people with filters."""

    def test_revoked(self) -> None:
        """Who is there is listed, may renew, is revoked with a reason, and ends with status 75; another one may come then."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        (folder / "users").write_text("".join(user_line(user, f"secret of {user}") for user in USERS))
        (folder / "permissions").write_text(PERMISSIONS)
        server = self.serve("--users", str(folder / "users"), "--permissions", str(folder / "permissions"), "--max-lease", "8h")
        alice = self.client("laptop", "--intercept", "header:X-User=alice", "--reason", "PROJ-12", "--lease", "1h", user="alice")
        (lease,) = self.listed("root")
        shown = (lease["holder"], lease["name"], lease["reason"], lease["what"], lease["state"])
        self.assertEqual(shown, ("alice", "laptop", "PROJ-12", "header:x-user=alice", "joined"))
        self.assertLess(3500, lease["left"])
        renewed = self.ask("renew", "--lease", "20h", user="alice")
        self.assertEqual(renewed.stdout, "renewed laptop, ends in 28800 s\n", renewed.stderr)
        alice.wait_for("the lease was renewed; the lease ends in 8 h")
        refused = self.ask("revoke", "laptop", "--because", "x", user="bob")
        self.assertEqual((refused.returncode, refused.stdout), (1, ""))
        self.assertIn("rtunnel revoke: that needs the right admin", refused.stderr)
        revoked = self.ask("revoke", "alice", "--because", "the demo is at 3", user="root")
        self.assertEqual((revoked.returncode, revoked.stdout), (0, "revoked laptop\n"), revoked.stderr)
        self.assertEqual(alice.wait(), 75)
        self.assertIn('it was revoked by root: "the demo is at 3"', alice.output)
        server.wait_for("ended: revoked by root")
        self.client("other", "--intercept", "header:X-User=alice", user="bob")

    def test_killed(self) -> None:
        """The filter of a client that was killed is kept for it; somebody else may take it over, or gets it after a while."""
        self.serve("--lease-hold", "60s")
        alice = self.client("alice", "--intercept", "header:X-User=alice")
        alice.send(signal.SIGKILL)
        alice.wait()
        wait_until(lambda: [lease["state"] for lease in self.listed()] == ["held"], "the lease is held")
        bob = self.started(
            rtunnel("client", *self.where(), "--target", ":9", "--name", "bob", "--intercept", "header:X-User=alice")
        )
        bob.wait_for("are taken by alice")
        self.assertIn("whose link is lost", bob.output)
        bob.stop()
        taken = self.ask("take", HOST, "--take-over", "--name", "bob")
        self.assertEqual(taken.stdout, "took over from alice, whose link is lost\n", taken.stderr)
        self.client("bob", "--intercept", "header:X-User=alice")
        who = self.ask("who", HOST)
        self.assertRegex(who.stdout, rf"{HOST} +bob +header:x-user=alice +- +\w+ ago +- +- +up")


class EndTests(_Asking):
    """Without users."""

    def test_times(self) -> None:
        """One whose time is over, and one that nobody needs: each says why, and ends with the status for it."""
        self.serve("--lease-idle", "2s")
        busy, idle = self.begin("busy", "--lease", "1s"), self.begin("idle")
        self.assertEqual((busy.wait(), idle.wait()), (75, 75))
        self.assertIn("the lease has ended: its time is over", busy.output)
        self.assertIn("the lease has ended: no request has come for so long", idle.output)

    def test_the_server_is_killed(self) -> None:
        """The next one gives the client what is left of its lease."""
        server = self.serve()
        client = self.client("alice", "--lease", "1h")
        server.send(signal.SIGKILL)
        server.wait()
        self.serve()
        client.wait_for("is known to others as alice", 2)
        (lease,) = self.listed()
        self.assertLess(lease["left"], 3600)
        self.assertLess(lease["age"], 3600 - lease["left"])


class MistakeTests(_Asking):
    def test_no_server(self) -> None:
        asked = self.ask("list")
        self.assertEqual(asked.returncode, 1)
        self.assertIn("rtunnel list: the server cannot be reached: the connection was refused", asked.stderr)
        self.assertEqual(len(asked.stderr.splitlines()), 1)


class GostTests(_Asking):
    """Beside a real gost nothing changes."""

    def test_client(self) -> None:
        """Gost's client joins, is listed without a lease, and hears nothing that it does not understand."""
        self.serve()
        self.client("alice", "--intercept", "header:X-User=alice")
        client = self.started(self.join_with_gost(""))
        wait_until(lambda: len(self.listed()) == 2, f"gost has joined\n{client.output}")
        self.assertEqual([(one["name"], one["lease"] != "") for one in self.listed()], [("alice", True), ("", False)])
        self.assertNotIn("error", client.output)

    def test_server(self) -> None:
        """Gost's server refuses the question."""
        port, entrypoint = free_port(), free_port()
        server = gost(
            "-L", f"tunnel+ws://127.0.0.1:{port}?entrypoint=127.0.0.1:{entrypoint}&tunnel={HOST}:{self.tunnel}&path=/proxy"
        )
        self.started(server)
        wait_until(lambda: listening(port), "gost listens")
        self.tunnel_port = port
        self.join().wait_for("joined tunnel")
        asked = self.ask("list")
        self.assertEqual(asked.returncode, 1)
        self.assertEqual(len(asked.stderr.splitlines()), 1, asked.stderr)
        self.assertIn("rtunnel list: ", asked.stderr)
