"""Two servers that share a real Redis, with clients and visitors at either: what users see, also when Redis is gone."""

from __future__ import annotations

import json
import signal
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.process.test_restarts import HOST, Server
from tests.support.processes import Process, free_port, rtunnel, run_rtunnel, wait_until
from tests.support.redis import RedisServer
from tests.support.services import NamedService

PASSWORD = "s3cret of redis"


class RegistryCase(TestCase):
    """Servers a and b; the password of Redis is in a file."""

    timeout = 180

    def setUp(self) -> None:
        self.redis = RedisServer("--requirepass", PASSWORD, password=PASSWORD)
        self.addCleanup(self.redis.close)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "password").write_text(PASSWORD + "\n")
        (self.folder / "peers").write_text("a secret that only servers know\n")
        self.tunnel = str(uuid4())
        self.servers = {name: Server(self.tunnel) for name in "ab"}
        self.processes = {name: self.begin(name) for name in "ab"}
        for server in self.servers.values():
            wait_until(lambda: server.ready, "the server is ready")  # noqa: B023
        self.services = {name: self.service(name) for name in ("alice", "bob", "pod")}

    def service(self, name: str) -> NamedService:
        service = NamedService(name)
        self.addCleanup(service.stop)
        return service

    def begin(self, name: str, *more: str, anew: bool = False) -> Process:
        process = self.servers[name].start(
            f"--registry=redis://127.0.0.1:{self.redis.port}/3",
            f"--registry-password-file={self.folder / 'password'}",
            f"--peer-listen=127.0.0.1:{free_port()}",
            f"--peer-secret-file={self.folder / 'peers'}",
            *more,
            anew=anew,
        )
        self.addCleanup(process.stop)
        return process

    def client(self, name: str, at: str, *options: str) -> Process:
        process = rtunnel(
            "client",
            *self.where(at),
            *("--target", f"127.0.0.1:{self.services[name].port}", "--name", name),
            *("--backoff-min", "50ms", "--backoff-max", "500ms"),
            *options,
        )
        self.addCleanup(process.stop)
        return process

    def joined(self, name: str, at: str, *options: str) -> Process:
        process = self.client(name, at, *options)
        process.wait_for("joined tunnel")
        return process

    def where(self, at: str) -> tuple[str, ...]:
        return ("--server", f"ws://127.0.0.1:{self.servers[at].listen}/ws", "--tunnel", self.tunnel)

    def get(self, at: str, **fields: str) -> tuple[int, str]:
        """Status and body of a request at a server."""
        connection = HTTPConnection("127.0.0.1", self.servers[at].entrypoint, timeout=20)
        try:
            connection.request(
                "GET", "/", headers={"Host": HOST, **{key.replace("_", "-"): value for key, value in fields.items()}}
            )
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        finally:
            connection.close()

    def served_by(self, at: str, name: str, **fields: str) -> bool:
        status, body = self.get(at, **fields)
        return status == 200 and name in body

    def ask(self, at: str, *arguments: str) -> str:
        """What a command says that asks a server."""
        name, *rest = arguments
        done = run_rtunnel(name, *self.where(at), *rest)
        return done.stdout + done.stderr

    def registry(self, at: str) -> dict[str, Any]:
        """What the status of a server says of the registry."""
        connection = HTTPConnection("127.0.0.1", self.servers[at].admin, timeout=20)
        try:
            connection.request("GET", "/status")
            (registry,) = json.loads(connection.getresponse().read())["registry"]
            return dict(registry)
        finally:
            connection.close()


class SharingTests(RegistryCase):
    def test_one_installation(self) -> None:
        """Clients and visitors may come to any server; filters and leases are the same at both."""
        self.joined("pod", "a")
        alice = self.joined("alice", "b", "--intercept", "header:X-User=alice", "--reason", "PROJ-12")
        wait_until(lambda: self.served_by("a", "alice", X_User="alice"), "the filter is known at the other server")
        wait_until(lambda: self.served_by("b", "pod"), "the pod is known at the other server")
        self.assertTrue(self.served_by("b", "alice", X_User="alice"))
        self.assertTrue(self.served_by("a", "pod"))
        bob = self.client("bob", "a", "--intercept", "header:X-User=alice")
        bob.wait_for('are taken by alice with "header:x-user=alice"')
        self.assertIn('for "PROJ-12"', bob.output)
        listed = self.ask("a", "list")
        self.assertRegex(listed, r"alice +header:x-user=alice +PROJ-12")
        self.assertRegex(self.ask("a", "who", HOST), r"pod +weight 1")
        self.assertEqual(self.ask("a", "release", "--name", "alice"), "released alice\n")
        self.assertEqual(alice.wait(), 75)
        bob.wait_for("joined tunnel")
        self.assertTrue(self.served_by("b", "bob", X_User="alice"))

    def test_a_server_that_is_killed(self) -> None:
        """Its clients are gone everywhere at once, since nobody reaches them, and from the registry soon."""
        self.joined("pod", "b")
        wait_until(lambda: self.served_by("a", "pod"), "the pod is known")
        self.assertEqual((self.registry("a")["servers"], self.registry("a")["connectors"]), (1, 1))
        self.processes["b"].send(signal.SIGKILL)
        wait_until(lambda: self.get("a")[0] == 503, "nobody serves it")
        wait_until(lambda: self.registry("a")["servers"] == 0, "the server is gone")
        self.processes["b"] = self.begin("b")
        wait_until(lambda: self.served_by("a", "pod"), "the pod is back")

    def test_nothing_secret_is_shown(self) -> None:
        self.processes["a"].stop()
        self.processes["a"] = self.begin("a", anew=True)
        wait_until(lambda: self.servers["a"].ready, "the server is ready")
        for process in self.processes.values():
            line = Path(f"/proc/{process.pid}/cmdline").read_text()
            self.assertNotIn(PASSWORD, process.output + line)
        self.assertNotIn(PASSWORD, json.dumps(self.registry("a")))
        self.assertEqual(self.registry("a")["address"], f"redis://127.0.0.1:{self.redis.port}/3")


class FaultTests(RegistryCase):
    def test_redis_is_killed(self) -> None:
        """Requests go on, clients that want a share join; those that intercept wait. Then all is as before."""
        self.joined("pod", "b")
        wait_until(lambda: self.served_by("a", "pod"), "the pod is known")
        self.redis.kill()
        wait_until(lambda: self.registry("a")["state"] == "unavailable", "it is noticed")
        self.assertIn("it cannot be reached", self.registry("a")["reason"])
        for _ in range(20):
            self.assertTrue(self.served_by("a", "pod"))
        alice = self.client("alice", "a", "--intercept", "header:X-User=alice")
        alice.wait_for("the servers cannot agree now on who gets these requests")
        bob = self.joined("bob", "a", "--weight", "255")
        self.assertTrue(self.served_by("a", "bob"))
        self.redis.start()
        alice.wait_for("joined tunnel")
        wait_until(lambda: self.served_by("b", "bob"), "what has changed meanwhile is known")
        wait_until(lambda: self.served_by("b", "alice", X_User="alice"), "the filter is known")
        self.processes["a"].wait_for("available again")
        bob.stop()
        wait_until(lambda: self.served_by("a", "pod"), "as at the beginning")
        for process in self.processes.values():
            self.assertNotIn("Traceback", process.output)

    def test_redis_hangs(self) -> None:
        self.joined("pod", "b")
        wait_until(lambda: self.served_by("a", "pod"), "the pod is known")
        self.redis.pause()
        wait_until(lambda: self.registry("a")["state"] == "unavailable", "it is noticed")
        for _ in range(20):
            self.assertTrue(self.served_by("a", "pod"))
        # a server ends all the same
        self.processes["a"].send(signal.SIGTERM)
        self.assertEqual(self.processes["a"].wait(), 0)
        self.redis.resume()

    def test_wrong_password(self) -> None:
        """It is said at once, and the server runs by itself."""
        (self.folder / "password").write_text("guessed\n")
        server = self.servers["c"] = Server(self.tunnel)
        process = self.begin("c")
        process.wait_for("it refuses user and password (--registry-password-file)")
        self.joined("alice", "c")
        wait_until(lambda: server.ready, "it is ready at last")
        self.assertTrue(self.served_by("c", "alice"))
        self.assertNotIn("guessed", process.output)

    def test_a_password_on_the_command_line(self) -> None:
        done = run_rtunnel("server", "--registry=redis://:s3cret@127.0.0.1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("must not contain a password", done.stderr)
        self.assertNotIn("s3cret", done.stderr)
