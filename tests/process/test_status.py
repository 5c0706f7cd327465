"""``rtunnel status`` of real processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import TestCase

from tests.support.authority import Authority
from tests.support.processes import ROOT, TIMEOUT, Process, free_port, rtunnel, run_rtunnel, wait_until
from tests.support.services import NamedService
from tests.support.terminal import OnTerminal


def status(port: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask for the status."""
    return run_rtunnel("status", "--admin", f"127.0.0.1:{port}", *words)


class StatusTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.listen, self.entrypoint, self.server_admin, self.client_admin = (free_port() for _ in range(4))
        self.service = NamedService("pod")
        self.addCleanup(self.service.stop)

    def start(self, *words: str) -> Process:
        process = rtunnel(*words)
        self.addCleanup(process.stop)
        return process

    def document(self, port: int, exit_status: int = 0) -> Any:
        ended = status(port, "--json")
        self.assertEqual((ended.returncode, ended.stderr), (exit_status, ""))
        return json.loads(ended.stdout)

    def visit(self) -> None:
        visitor = HTTPConnection("127.0.0.1", self.entrypoint, timeout=TIMEOUT)
        visitor.request("GET", "/down/100000", headers={"Host": "pod.local"})
        self.assertEqual(len(visitor.getresponse().read()), 100000)
        visitor.close()

    def metrics(self, connector: str) -> None:
        """Prometheus is told of the connector as well."""
        asking = HTTPConnection("127.0.0.1", self.server_admin, timeout=TIMEOUT)
        asking.request("GET", "/metrics")
        text = asking.getresponse().read().decode()
        asking.close()
        found = {
            sample.name.removeprefix("rtunnel_server_connector_"): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("connector") == connector
        }
        self.assertEqual((found["weight"], found["requests_total"]), (7, 1))
        self.assertGreater(found["received_bytes_total"], 100000)
        if sys.platform == "linux":
            self.assertTrue(0 < found["round_trip_seconds"] < TIMEOUT)

    def both(self, transport: str, of_server: Sequence[str] = (), of_client: Sequence[str] = ()) -> None:
        """A client that waits for its server, then both joined, then a request, then the end of the server."""
        client = self.start(
            *("client", "--server", f"{transport}://localhost:{self.listen}", "--tunnel", self.tunnel, "--weight", "7"),
            *("--target", f"127.0.0.1:{self.service.port}", "--admin", f"127.0.0.1:{self.client_admin}"),
            *of_client,
        )
        client.wait_for("next attempt in")
        alone = self.document(self.client_admin, exit_status=2)
        self.assertEqual(alone["process"]["state"], "joining")
        self.assertEqual([connector["state"] for connector in alone["connectors"]], ["joining"])
        self.assertIn("cannot join", alone["errors"][0]["text"])

        server = self.start(
            *("server", "--listen", f"{transport}://127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"pod.local={self.tunnel}", "--admin", f"127.0.0.1:{self.server_admin}"),
            *of_server,
        )
        client.wait_for("joined")
        self.visit()
        # the server tells its clients what they got, now and then
        wait_until(lambda: self.document(self.client_admin)["connectors"][0]["requests"] == 1, "the request is known")
        far, near = self.document(self.server_admin), self.document(self.client_admin)
        (seen_far,), (seen_near,) = far["connectors"], near["connectors"]
        self.assertEqual(seen_far["id"], seen_near["id"])
        self.assertEqual([seen_far[key] for key in ("tunnel", "state", "weight")], [self.tunnel[:8], "joined", 7])
        self.assertEqual(seen_near["target"], f"127.0.0.1:{self.service.port}")
        self.assertEqual((seen_far["requests"], seen_near["requests"]), (1, 1))
        self.assertEqual((seen_near["hosts"], seen_near["share"]["text"]), (["pod.local"], "you get all requests"))
        self.assertEqual([target["state"] for target in seen_near["targets"]], ["reachable"])
        self.assertGreater(seen_far["received_bytes"], 100000)
        self.assertGreater(seen_near["sent_bytes"], 100000)
        by = "ping" if transport == "ws" else "tcp" if sys.platform == "linux" else None
        for connector in (seen_far, seen_near):
            self.assertEqual(connector["round_trip"]["by"] if connector["round_trip"] else None, by)
        self.assertEqual([entrypoint["address"] for entrypoint in far["entrypoints"]], [f"127.0.0.1:{self.entrypoint}"])
        self.assertEqual(far["rules"], [{"host": "pod.local", "tunnel": self.tunnel[:8], "private": False}])
        for part in (json.dumps(far), json.dumps(near)):
            self.assertNotIn(self.tunnel, part)

        self.metrics(seen_far["id"])
        for port in (self.server_admin, self.client_admin):
            table = status(port)
            self.assertEqual((table.returncode, table.stderr), (0, ""))
            self.assertIn(seen_far["id"], table.stdout)

        server.send(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)
        wait_until(lambda: status(self.client_admin).returncode == 2, "the client sees that its server is gone")
        self.assertEqual(status(self.server_admin).returncode, 1)

    def test_networks(self) -> None:
        """A client with a target of each: both ends say which connector is which."""
        target = f"127.0.0.1:{self.service.port}"
        server = f"ws://127.0.0.1:{self.listen}"
        self.start(
            *("server", "--listen", server, "--entrypoint", f"127.0.0.1:{self.entrypoint}"),
            *("--route", f"pod.local={self.tunnel}", "--admin", f"127.0.0.1:{self.server_admin}"),
        ).wait_for("entrypoint on")
        client = self.start(
            *("client", "-L", f"rtcp://:0/{target}", "-L", f"rudp://:0/{target}"),
            *("-F", f"tunnel+{server}?tunnel.id={self.tunnel}", "--admin", f"127.0.0.1:{self.client_admin}"),
        )
        client.wait_for("joined", 2)
        far, near = self.document(self.server_admin), self.document(self.client_admin)
        networks = [{connector["id"]: connector["network"] for connector in end["connectors"]} for end in (far, near)]
        self.assertEqual(networks[0], networks[1])
        self.assertEqual(sorted(networks[0].values()), ["tcp", "udp"])
        for port in (self.server_admin, self.client_admin):
            self.assertRegex(status(port).stdout, rf"{self.tunnel[:8]} +udp +joined")

    def test_socket(self) -> None:
        """Nothing is said of it: a server and a client are found, also beside what a killed process left."""
        with TemporaryDirectory(prefix="rt-") as folder:
            found = {"XDG_RUNTIME_DIR": folder}
            page = (ROOT / "docs" / "status.md").read_text(encoding="utf-8")
            asking = next(line for line in page.splitlines() if line.startswith("    rtunnel status")).split()[1:]
            address, entrypoint = f"127.0.0.1:{self.listen}", f"127.0.0.1:{self.entrypoint}"
            words = ("server", "--listen", address, "--entrypoint", entrypoint, "--route", f"pod.local={self.tunnel}")
            server = rtunnel(*words, env=found)
            self.addCleanup(server.stop)
            server.wait_for("entrypoint on")
            # with its ID, since others may run on this machine
            with rtunnel(*asking, str(server.pid), env=found) as asked:
                self.assertEqual(asked.wait(), 0, asked.output)
                for part in ("server: ready, up ", "listeners", "entrypoints", "http, tls, relay", "ingress rules", "tunnels"):
                    self.assertIn(part, asked.output)
            client = rtunnel("client", "--server", address, "--tunnel", self.tunnel, "--target", ":9", env=found)
            self.addCleanup(client.stop)
            client.wait_for("joined")
            with rtunnel(*asking, env=found) as asked:
                self.assertEqual(asked.wait(), 1, asked.output)
                self.assertIn("processes run here; say which", asked.output)
                self.assertRegex(asked.output, rf"(?m)^ +{server.pid}  server   pod.local$")
                self.assertRegex(asked.output, rf"(?m)^ +{client.pid}  client   .*localhost:9$")
            for name, process in (("client", client), ("server", server)):
                with rtunnel(*asking, str(process.pid), env=found) as asked:
                    self.assertEqual(asked.wait(), 0, asked.output)
                    self.assertIn(f"{name}: ready", asked.output)
            client.send(signal.SIGKILL)
            client.wait()
            left = Path(folder, "rtunnel", f"client-{client.pid}.sock")
            self.assertTrue(left.exists())
            with rtunnel(*asking, str(client.pid), env=found) as asked:
                self.assertEqual(asked.wait(), 1, asked.output)
            with rtunnel(*words, "--no-admin-socket", env=found) as other:
                other.wait_for("cannot listen")
            again = rtunnel("client", "--server", address, "--tunnel", self.tunnel, "--target", ":9", env=found)
            self.addCleanup(again.stop)
            again.wait_for("joined")
            self.assertFalse(left.exists())
            again.send(signal.SIGTERM)
            self.assertEqual(again.wait(), 0)
            self.assertEqual([path.name for path in Path(folder, "rtunnel").iterdir()], [f"server-{server.pid}.sock"])

    def test_again_and_again(self) -> None:
        """In a pipe a line for each change, until Ctrl-C, which is no failure; or until the process ends, which is one."""
        words = ("server", "--listen", f"127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}")
        server = self.start(*words, "--route", f"pod.local={self.tunnel}")
        server.wait_for("entrypoint on")
        watching = [self.start("status", str(server.pid), "--watch") for _ in range(2)]
        for one in watching:
            one.wait_for(f"server {server.pid}: ready")
        self.start("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", self.tunnel, "--target", ":9", "--name", "bob")
        for one in watching:
            one.wait_for("(bob): joined, weight 1")
        watching[0].send(signal.SIGINT)
        self.assertEqual(watching[0].wait(), 0, watching[0].output)
        server.send(signal.SIGTERM)
        self.assertEqual(watching[1].wait(), 1)
        self.assertIn(f"rtunnel status: the server {server.pid} has ended", watching[1].output)

    def test_live(self) -> None:
        """On a terminal the tables are drawn again."""
        words = ("server", "--listen", f"127.0.0.1:{self.listen}", "--entrypoint", f"127.0.0.1:{self.entrypoint}")
        server = self.start(*words, "--route", f"pod.local={self.tunnel}")
        server.wait_for("entrypoint on")
        watching = OnTerminal("status", str(server.pid), "--watch")
        self.addCleanup(watching.stop)
        watching.wait_for("ingress rules")
        self.start("client", "--server", f"127.0.0.1:{self.listen}", "--tunnel", self.tunnel, "--target", ":9")
        watching.wait_for(f"{self.tunnel[:8]}           1 ")
        watching.process.send_signal(signal.SIGINT)
        self.assertEqual(watching.process.wait(TIMEOUT), 0, watching.output)

    def test_websocket(self) -> None:
        self.both("ws")

    def test_tcp(self) -> None:
        self.both("tcp")

    def test_tls(self) -> None:
        """The kernel is asked of the connection under TLS."""
        authority = Authority(Path(self.mktemp()).resolve())
        cert, key = authority.issue("localhost", file="server")
        self.both("tls", ["--cert-file", cert, "--key-file", key], ["--ca-file", authority.ca_file])
