"""Socket activation without systemd: the test opens the sockets, passes them as systemd does, and restarts the server."""

from __future__ import annotations

import signal
import socket
import sys
from collections import Counter
from functools import partial
from http.client import HTTPConnection
from threading import Event, Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Process, rtunnel, wait_until
from tests.support.services import NamedService
from tests.transport.test_passed_sockets import far

HOST = "pod.local"
PATIENCE = 60.0
PASS = 'exec env LISTEN_PID=$$ "$@" 3<&$LISTEN_A 4<&$LISTEN_B'
"""The shell becomes the server, so that its PID is the one that is named; A and B are where the sockets are here."""


class SocketActivationTests(TestCase):
    timeout = 90

    def setUp(self) -> None:
        self.sockets = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
        for one in self.sockets:
            self.addCleanup(one.close)
        self.descriptors = [far(one, self.addCleanup) for one in self.sockets]
        self.listen, self.entrypoint = (one.getsockname()[1] for one in self.sockets)
        self.tunnel = str(uuid4())
        self.pod = NamedService("pod")
        self.addCleanup(self.pod.stop)

    def start(self, entrypoint: int | None = None, *options: str) -> Process:
        listen, web = self.descriptors
        server = Process(
            [
                *("bash", "-c", PASS, "bash", sys.executable, "-m", "rtunnel", "server"),
                f"--listen=ws://127.0.0.1:{self.listen}/ws",
                f"--entrypoint=127.0.0.1:{entrypoint or self.entrypoint}",
                f"--route={HOST}={self.tunnel}",
                *options,
            ],
            env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "clients:web", "LISTEN_A": str(listen), "LISTEN_B": str(web)},
            pass_fds=(listen, web),
        )
        self.addCleanup(server.stop)
        wait_until(lambda: "entrypoint on" in server.output, f"it listens\n{server.output}", PATIENCE)
        return server

    def visit(self) -> str:
        """One request on a new connection."""
        connection = HTTPConnection("127.0.0.1", self.entrypoint, timeout=20)
        try:
            connection.request("GET", "/", headers={"Host": HOST})
            response = connection.getresponse()
            response.read()
            return str(response.status)
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return type(error).__name__
        finally:
            connection.close()

    @staticmethod
    def more(seen: Counter[str], count: int) -> bool:
        return seen["200"] > count

    def test_restart_under_load(self) -> None:
        """No connection is refused, and none is lost: those that arrive while no server runs wait for the next one."""
        server = self.start()
        client = rtunnel(
            "client", f"--server=ws://127.0.0.1:{self.listen}/ws", f"--tunnel={self.tunnel}", f"--target=127.0.0.1:{self.pod.port}"
        )
        self.addCleanup(client.stop)
        client.wait_for("joined tunnel")
        seen: Counter[str] = Counter()
        over = Event()

        def load() -> None:
            while not over.wait(0.02):
                seen[self.visit()] += 1

        threads = [Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for restart in range(2):
                wait_until(partial(self.more, seen, seen["200"] + 50), "requests are answered")
                server.send(signal.SIGTERM)
                self.assertEqual(server.wait(), 0)
                server = self.start()
                client.wait_for("joined tunnel", restart + 2)
        finally:
            over.set()
            for thread in threads:
                thread.join()
        # 503: there is a server again, and its client is on the way
        self.assertEqual(set(seen) - {"503"}, {"200"})

    def test_nobody_listens(self) -> None:
        """A socket that no option names is said, with its name."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
        self.start(port).wait_for(
            f"has passed the socket web at 127.0.0.1:{self.entrypoint}, where no --listen or --entrypoint listens"
        )

    def test_workers(self) -> None:
        """All of them accept from the same sockets."""
        server = self.start(None, "--workers=2", "--no-admin-socket")
        wait_until(lambda: "all 2 workers are ready" in server.output, "the workers are ready", PATIENCE)
        client = rtunnel(
            "client", f"--server=ws://127.0.0.1:{self.listen}/ws", f"--tunnel={self.tunnel}", f"--target=127.0.0.1:{self.pod.port}"
        )
        self.addCleanup(client.stop)
        wait_until(lambda: self.visit() == "200", "a request is answered", PATIENCE)
        self.assertEqual([self.visit() for _ in range(20)], ["200"] * 20)
        self.assertEqual(server.output.count(f"entrypoint on 127.0.0.1:{self.entrypoint}"), 2)
        self.assertNotIn("has passed the socket", server.output)
        server.send(signal.SIGTERM)
        self.assertEqual(server.wait(PATIENCE), 0)
