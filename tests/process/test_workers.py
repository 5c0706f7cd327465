"""One server of two processes: clients and visitors come to either, and nobody can tell."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.load import Load
from tests.support.processes import Process, ask, free_port, rtunnel, wait_until
from tests.support.redis import RedisServer
from tests.support.services import NamedService

HOST = "pod.local"
PATIENCE = 60.0


class WorkersTests(TestCase):
    timeout = 240

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.listen, self.entrypoint, self.admin = free_port(), free_port(), free_port()
        self.access = Path(self.mktemp()).absolute()

    def start(self, *options: str, workers: int = 2) -> Process:
        server = rtunnel(
            "server",
            f"--workers={workers}",
            f"--listen=127.0.0.1:{self.listen}",
            f"--entrypoint=127.0.0.1:{self.entrypoint}",
            f"--route={HOST}={self.tunnel}",
            f"--admin=127.0.0.1:{self.admin}",
            f"--access-log={self.access}",
            *options,
        )
        self.addCleanup(server.stop)
        return server

    def begin(self, *options: str) -> Process:
        server = self.start(*options)
        wait_until(lambda: ask(self.admin, "/readyz")[0] == 200, f"all workers are ready\n{server.output}", PATIENCE)
        return server

    def status(self) -> Any:
        status, body = ask(self.admin, "/status")
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def join(self, name: str, *options: str) -> Process:
        service = NamedService(name)
        self.addCleanup(service.stop)
        server = f"--server=127.0.0.1:{self.listen}"
        client = rtunnel("client", server, f"--tunnel={self.tunnel}", f"--target=127.0.0.1:{service.port}", *options)
        self.addCleanup(client.stop)
        said(client, "joined tunnel")
        return client

    def visit(self, path: str = "/", **headers: str) -> bytes:
        """A request of a visitor of its own."""
        connection = HTTPConnection("127.0.0.1", self.entrypoint, timeout=20)
        try:
            connection.request("GET", path, headers={"Host": HOST, **headers})
            return connection.getresponse().read()
        finally:
            connection.close()

    def visitors(self) -> dict[str, float]:
        """Visitors so far, by worker."""
        lines = ask(self.admin, "/metrics")[1].splitlines()
        found = [line.rpartition(" ") for line in lines if line.startswith("rtunnel_server_visitors_total{")]
        return {name.partition('worker="')[2].rstrip('"}'): float(value) for name, _, value in found}

    def test_one_of_two(self) -> None:
        """Requests at both, leases at both, one status, one log; a worker that is killed comes back, and requests go on."""
        server = self.begin("--drain=5s")
        self.join("pod")
        # an intercept is agreed on, at whichever worker the laptop is
        self.join("laptop", "--intercept=header:X-User=alice", "--name=alice")
        wait_until(lambda: self.visit() == b"pod", "a request")
        for _ in range(100):
            self.assertEqual(self.visit(), b"pod")
            self.assertEqual(self.visit(**{"X-User": "alice"}), b"laptop")
            if min(self.visitors().values()) >= 10:
                break
        self.assertEqual(set(self.visitors()), {"1", "2"})
        self.assertGreaterEqual(min(self.visitors().values()), 10, "the system has given both their visitors")
        document = self.status()
        self.assertEqual([worker["state"] for worker in document["workers"]], ["ready", "ready"])
        self.assertEqual(Counter(connector["name"] for connector in document["connectors"])["alice"], 1)
        self.assertEqual(document["tunnels"][0]["connectors"], 2)
        self.assertEqual((document["process"]["pid"], document["peers"], document["registry"]), (server.pid, [], []))
        self.assertEqual([ask(self.admin, f"/explain?{query}")[0] for query in (f"host={HOST}", "x=y")], [200, 400])
        refused = rtunnel(
            *("client", f"--server=127.0.0.1:{self.listen}", f"--tunnel={self.tunnel}", "--target=127.0.0.1:9"),
            *("--intercept=header:X-User=alice", "--name=bob"),
        )
        self.addCleanup(refused.stop)
        said(refused, "alice")

        # the worker without clients, if there is one: then no request needs to notice
        document = self.status()
        victim = min(document["workers"], key=lambda worker: worker["links"])
        with Load(self.entrypoint, HOST) as load:
            wait_until(lambda: load.total > 50, "requests", PATIENCE)
            os.kill(victim["pid"], signal.SIGKILL)
            said(server, f"worker {victim['number']} has ended (SIGKILL)")
            wait_until(lambda: self.status()["workers"][victim["number"] - 1]["state"] == "ready", "it is back", PATIENCE)
            before = len(load.succeeded)
            wait_until(lambda: len(load.succeeded) >= before + 150, "requests", PATIENCE)
        # only those that were at the one that was killed, or at its clients until these were back
        self.assertGreater(len(load.succeeded), len(load.failed))
        wait_until(lambda: self.visit() == b"pod", "a request")
        self.assertEqual(self.status()["workers"][victim["number"] - 1]["restarts"], 1)
        server.send(signal.SIGTERM)
        self.assertEqual(server.wait(PATIENCE), 0)
        self.assertNotIn("Traceback", server.output)
        lines = self.access.read_text().splitlines()
        # at least those since the restart; what the killed worker had not written yet is lost
        self.assertGreaterEqual(len(lines), 150)
        self.assertTrue(all(HOST in line for line in lines))

    def test_reload(self) -> None:
        """Both read the file again; a wrong one changes nothing, with one complaint. Without the first process they end."""
        file = Path(self.mktemp()).absolute()
        file.write_text("drain: 3s\n")
        server = self.begin(f"--config={file}")
        self.join("pod")
        file.write_text("drain: soon\n")
        server.send(signal.SIGHUP)
        said(server, "not reloaded, nothing changed")
        file.write_text("drain: 4s\nstop-delay: 1s\n")
        server.send(signal.SIGHUP)
        said(server, "stop-delay is 1 s now", 2)
        self.assertEqual(server.output.count("not reloaded"), 1)
        pids = [worker["pid"] for worker in self.status()["workers"]]
        folder = Path(f"/proc/{pids[0]}/environ").read_text().partition("RUNTIME_DIRECTORY=")[2].partition("\0")[0]
        self.assertTrue(Path(folder).is_dir())
        server.send(signal.SIGKILL)
        server.wait()
        wait_until(lambda: not any(map(_runs, pids)), "the workers have ended", PATIENCE)
        self.assertFalse(Path(folder).exists(), "and nothing is left of them")

    def test_it_cannot_start(self) -> None:
        """One line, and status 1: a port that somebody has, and what only a worker notices."""
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            taken.bind(("127.0.0.1", self.entrypoint))
            taken.listen()
            server = self.start()
            self.assertEqual(server.wait(PATIENCE), 1)
            self.assertIn(f"the entrypoint cannot listen on 127.0.0.1:{self.entrypoint}: Address already in use", server.output)
        users = Path(self.mktemp()).absolute()
        server = self.start(f"--users={users}")
        self.assertEqual(server.wait(PATIENCE), 1)
        self.assertIn(str(users), server.output)
        self.assertNotIn("Traceback", server.output)

    def test_with_redis(self) -> None:
        """Workers that share with other servers are reached at ports one after the other."""
        redis = RedisServer()
        self.addCleanup(redis.close)
        secret = Path(self.mktemp()).absolute()
        secret.write_text("a secret of all the servers")
        peer = free_port()
        self.begin(f"--registry=unix://{redis.socket}", f"--peer-listen=127.0.0.1:{peer}", f"--peer-secret-file={secret}")
        self.join("pod")
        for _ in range(20):
            self.assertEqual(self.visit(), b"pod")
        document = self.status()
        self.assertEqual({one["address"] for one in document["peers"]}, {f"127.0.0.1:{peer}", f"127.0.0.1:{peer + 1}"})
        self.assertEqual([one["state"] for one in document["registry"]], ["available", "available"])


def said(process: Process, words: str, count: int = 1) -> None:
    """Wait until a process has said something: there are several of them, on a machine that may be busy."""
    wait_until(lambda: process.output.count(words) >= count, f"{words}\n{process.output}", PATIENCE)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
