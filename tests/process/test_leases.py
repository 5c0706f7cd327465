"""Leases with real processes: who is there, who has to leave and why, and what a shell sees of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.faults.netns import Machine
from tests.process.test_users import HOST, _Case, user_line
from tests.support.processes import Process, free_port, gost, listening, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService

USERS = ("alice", "bob", "root")
PERMISSIONS = f"intercept alice,bob {HOST}\nlist,admin root {HOST}\n"


class _Asking(_Case):
    def where(self) -> tuple[str, ...]:
        return ("--server", f"ws://127.0.0.1:{self.tunnel_port}/proxy", "--tunnel", self.tunnel)

    def ask(self, *arguments: str, user: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command that asks the server."""
        name, *rest = arguments
        return run_rtunnel(name, *self.where(), *rest, env=self.environment(user))

    def environment(self, user: str) -> dict[str, str]:
        return {"RTUNNEL_AUTH": f"{user}:secret of {user}"} if user else {}

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


class LinkTests(_Asking):
    """A pod, and somebody whose link is lost in each way: her requests go to the pod, or wait, until she is back."""

    def ask_as_alice(self) -> tuple[int, str]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", "/", headers={"Host": HOST, "X-User": "alice"})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def answered_by(self, name: str) -> None:
        wait_until(lambda: self.ask_as_alice() == (200, name), f"{name} answers")

    def alice(self, *more: str) -> Process:
        service = NamedService("alice")
        self.addCleanup(service.stop)
        return self.client("alice", "--intercept", "header:X-User=alice", "--target", f"127.0.0.1:{service.port}", *more)

    def states(self) -> dict[str, str]:
        return {lease["name"]: lease["state"] for lease in self.listed()}

    def test_stopped(self) -> None:
        """SIGSTOP: the pod answers after what the server allows a silent client; afterwards she has the same lease."""
        server = self.serve("--suspect-after", "500ms", "--dead-after", "1s")
        self.client("pod")
        alice = self.alice()
        self.answered_by("alice")
        alice.send(signal.SIGSTOP)
        try:
            self.answered_by("pod")
            wait_until(lambda: self.states()["alice"] == "held", "the lease is held")
        finally:
            alice.send(signal.SIGCONT)
        self.answered_by("alice")
        server.wait_for("resumed for header:x-user=alice")

    def test_stopped_until_the_end(self) -> None:
        """Her lease is over when she wakes, as after a night with the lid closed: she says so, and ends."""
        self.serve("--keepalive-interval", "500ms", "--keepalive-timeout", "2s")
        self.client("pod")
        alice = self.alice("--lease", "3s")
        alice.send(signal.SIGSTOP)
        try:
            wait_until(lambda: "alice" not in self.states(), "the lease has ended")
        finally:
            alice.send(signal.SIGCONT)
        self.assertEqual(alice.wait(), 75)
        self.assertIn("the lease has ended: its time is over", alice.output)
        self.answered_by("pod")

    def test_cut(self) -> None:
        """Not a packet arrives any more, and later they do again."""
        machine = Machine()
        self.addCleanup(machine.close)
        server = self.started(
            rtunnel(
                *("server", "--listen", f"ws://:{self.tunnel_port}/proxy", "--entrypoint", f"127.0.0.1:{self.port}"),
                *("--route", f"{HOST}={self.tunnel}", "--keepalive-interval", "1s", "--keepalive-timeout", "3s"),
            )
        )
        wait_until(lambda: listening(self.port), f"the server listens\n{server.output}")
        self.client("pod")
        alice = self.started(
            Process(
                [
                    *(*machine.prefix, sys.executable, "-m", "rtunnel", "client", "--tunnel", self.tunnel, "--target", ":9"),
                    *("--server", f"ws://{machine.gateway}:{self.tunnel_port}/proxy", "--name", "alice"),
                    *("--intercept", "header:X-User=alice", "--keepalive-interval", "1s", "--keepalive-timeout", "3s"),
                    *("--backoff-max", "1s"),
                ]
            )
        )
        alice.wait_for("is known to others as")
        machine.cut()
        wait_until(lambda: self.states().get("alice") == "held", "the lease is held")
        self.answered_by("pod")
        machine.heal()
        wait_until(lambda: self.states().get("alice") == "joined", "she is back")
        server.wait_for("resumed for header:x-user=alice")

    def test_kept_for_her(self) -> None:
        """By a policy nobody else gets her requests while her lease is held; then the pod does."""
        self.serve("--lease-hold", "3s", "--policy", f"{HOST} on-absent=503")
        self.client("pod")
        alice = self.alice()
        self.answered_by("alice")
        alice.send(signal.SIGKILL)
        alice.wait()
        wait_until(lambda: self.ask_as_alice()[0] == 503, "they wait for her")
        self.answered_by("pod")

    def test_kept_for_her_in_words(self) -> None:
        self.serve("--policy", f"{HOST} on-absent=503")
        self.client("pod")
        alice = self.alice()
        alice.send(signal.SIGKILL)
        alice.wait()
        wait_until(lambda: "held" in self.states().values(), "the lease is held")
        status, text = self.ask_as_alice()
        self.assertEqual(status, 503)
        self.assertIn("This request is kept for alice, whose client has lost its connection.", text)


class PolicyTests(_Asking):
    def test_only_the_pod(self) -> None:
        """Who forgets the filter gets nothing, and hears what to do."""
        self.serve("--policy", f"{HOST} global=forbid require=session,header:X-User")
        self.client("pod", "--role", "pod")
        bob = self.begin("bob")
        bob.wait_for(
            "the server refused: only the pod may take a share of all requests here (policy global=forbid); use --intercept"
        )
        carol = self.begin("carol", "--intercept", "path^=/")
        carol.wait_for("the policy demands an exact value of session or header:x-user in each filter")
        self.client("alice", "--session", "alice")
        self.assertEqual(sorted(lease["name"] for lease in self.listed()), ["alice", "pod"])


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
