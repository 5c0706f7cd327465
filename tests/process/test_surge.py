"""The Deployment of the scenario: one server, replaced by another one that is ready before it stops, without a shared registry."""

from __future__ import annotations

import signal
import sys
from http.client import HTTPConnection

from tests.process.test_restarts import HOST, RestartCase, Server
from tests.support.load import Load
from tests.support.processes import Process, free_port, python_path, wait_until

NAME = "servers.test"
STOP_DELAY = 2


class SurgeTests(RestartCase):
    """The sidecar joins every address of a name, which the test gives more of as a headless Service would."""

    def setUp(self) -> None:
        super().setUp()
        self.listen = free_port()
        self.names = self.led_to / "hosts"
        self.names.write_text("")
        self.servers = 0

    def begin(self, server: Server) -> Process:
        """Start a server; its address is known at once, though it is not ready."""
        self.servers += 1
        address = f"127.0.1.{self.servers}"
        process = server.start(f"--listen={address}:{self.listen}", f"--stop-delay={STOP_DELAY}", "--ready-wait=60")
        self.addCleanup(process.stop)
        with self.names.open("a") as names:
            names.write(f"{address} {NAME}\n")
        return process

    def forget(self) -> None:
        """The first of the addresses is gone."""
        self.names.write_text("".join(self.names.read_text().splitlines(True)[1:]))

    def sidecar(self) -> Process:
        process = Process(
            [
                sys.executable,
                "-m",
                "tests.support.with_hosts",
                str(self.names),
                "client",
                f"--server=ws://{NAME}:{self.listen}/ws",
                f"--tunnel={self.tunnel}",
                f"--target=127.0.0.1:{self.pod.port}",
                "--join=all",
            ],
            env={"PYTHONPATH": python_path()},
        )
        self.addCleanup(process.stop)
        return process

    def test_no_request_fails(self) -> None:
        old = self.begin(self.old)
        self.assertFalse(self.old.ready)
        sidecar = self.sidecar()
        wait_until(lambda: self.old.ready, "the server has a client, and is ready")
        with Load(self.port, HOST) as load:
            for round_ in range(2):
                leaving, coming = (self.old, self.new) if round_ % 2 == 0 else (self.new, self.old)
                self.more(load, 50)
                following = self.begin(coming)
                wait_until(lambda: coming.ready, "the next server has a client, and is ready")  # noqa: B023
                self.lead_to(leaving, coming)
                self.more(load, 50)
                old.send(signal.SIGTERM)
                wait_until(lambda: not leaving.ready, "the server says that it stops")  # noqa: B023
                self.lead_to(coming)
                self.assertEqual(old.wait(), 0)
                self.forget()
                old = following
            self.more(load, 50)
        self.assertEqual(load.failed, [])
        self.assertNotIn("Traceback", sidecar.output)

    def test_ready_at_last(self) -> None:
        """Without any client a server is ready when it has waited long enough: its other tunnels are to be served."""
        process = self.old.start("--ready-wait=2")
        self.addCleanup(process.stop)
        self.assertFalse(self.old.ready)
        wait_until(lambda: self.old.ready, "it is ready at last")
        self.assertIn("ready, though no client has joined the tunnel", process.output)
        connection = HTTPConnection("127.0.0.1", self.old.entrypoint, timeout=20)
        connection.request("GET", "/", headers={"Host": HOST})
        self.assertEqual(connection.getresponse().status, 503)
        connection.close()
