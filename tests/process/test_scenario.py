"""The scenario with real processes: server, sidecar and laptop, behind a real nginx that plays the Ingress."""

from __future__ import annotations

import signal
from collections import Counter
from http.client import HTTPConnection, HTTPException
from itertools import groupby
from threading import Event, Thread
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.support.processes import Nginx, Process, free_port, rtunnel, wait_until
from tests.support.services import NamedService

HOST = "nginx.local"


def ingress(port: int, entrypoint: int, tunnel: int) -> str:
    """The Ingress of the scenario as nginx sees it: / to the entrypoint, /proxy to the tunnel listener."""
    return f"""
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream entrypoint {{ server 127.0.0.1:{entrypoint}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        server_name {HOST};
        client_max_body_size 0;
        location / {{
            proxy_pass http://entrypoint;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_request_buffering off;
            proxy_next_upstream off;
        }}
        location /proxy {{
            proxy_pass http://127.0.0.1:{tunnel};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 3600s;
        }}
    }}
    server {{ listen 127.0.0.1:{port} default_server; return 404; }}
    """


class ScenarioTests(TestCase):
    """Server and sidecar run; each test adds the laptop it needs."""

    timeout = 120

    def setUp(self) -> None:
        self.tunnel = str(uuid4())
        self.ingress_port, self.tunnel_port, self.entrypoint_port = free_port(), free_port(), free_port()
        self.pod, self.laptop = NamedService("pod"), NamedService("laptop")
        self.addCleanup(self.pod.stop)
        self.addCleanup(self.laptop.stop)
        nginx = Nginx(ingress(self.ingress_port, self.entrypoint_port, self.tunnel_port))
        self.addCleanup(nginx.stop)
        nginx.ready(self.ingress_port)
        self.server = self.start_server()
        self.sidecar = self.start(
            "client",
            "-L",
            f"rtcp://:0/127.0.0.1:{self.pod.port}",
            "-F",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?tunnel.id={self.tunnel}&tunnel.weight=1&path=/proxy",
        )
        self.sidecar.wait_for("joined tunnel")

    def start(self, *arguments: str) -> Process:
        process = rtunnel(*arguments)
        self.addCleanup(process.stop)
        return process

    def start_server(self) -> Process:
        server = self.start(
            "server",
            "-L",
            f"tunnel+ws://127.0.0.1:{self.tunnel_port}?entrypoint=127.0.0.1:{self.entrypoint_port}"
            f"&tunnel={HOST}:{self.tunnel}&path=/proxy",
        )
        server.wait_for("entrypoint on")
        return server

    def join(self, weight: int) -> Process:
        """The laptop joins through the Ingress, which finds its rule by the Host of the upgrade."""
        laptop = self.start(
            "client",
            "-L",
            f"rtcp://:0/127.0.0.1:{self.laptop.port}",
            "-F",
            f"tunnel+ws://127.0.0.1:{self.ingress_port}?tunnel.id={self.tunnel}&tunnel.weight={weight}&path=/proxy&host={HOST}",
        )
        laptop.wait_for("joined tunnel")
        return laptop

    def visit(self, count: int) -> Counter[str]:
        """Send requests on one kept-alive connection; count who answered."""
        answers: Counter[str] = Counter()
        connection = HTTPConnection("127.0.0.1", self.ingress_port, timeout=20)
        for number in range(count):
            connection.request("GET", f"/{number}", headers={"Host": HOST})
            response = connection.getresponse()
            answers[f"{response.status} {response.read().decode()}"] += 1
        connection.close()
        return answers

    def test_alone(self) -> None:
        """With the sidecar alone every request goes to the pod."""
        self.assertEqual(self.visit(50), {"200 pod": 50})

    def test_equal_weights(self) -> None:
        """Weights 1 and 1: each gets about half, also on one kept-alive connection."""
        self.join(1)
        answers = self.visit(600)
        self.assertEqual(answers["200 pod"] + answers["200 laptop"], 600, answers)
        self.assertTrue(0.42 <= answers["200 laptop"] / 600 <= 0.58, answers)

    def test_unequal_weights(self) -> None:
        """Weights 1 and 3: the laptop gets about three quarters."""
        self.join(3)
        answers = self.visit(600)
        self.assertEqual(answers["200 pod"] + answers["200 laptop"], 600, answers)
        self.assertTrue(0.68 <= answers["200 laptop"] / 600 <= 0.82, answers)

    def test_exclusive(self) -> None:
        """Weight 255 takes all; when its client ends in good order, the pod has everything again and nothing fails."""
        laptop = self.join(255)
        self.assertEqual(self.visit(200), {"200 laptop": 200})
        laptop.send(signal.SIGTERM)
        self.assertEqual(laptop.wait(), 0)
        self.assertEqual(self.visit(200), {"200 pod": 200})

    def test_killed_under_load(self) -> None:
        """After SIGKILL of the laptop each visitor is served by the pod, with at most the one request lost that had an answer."""
        laptop = self.join(255)
        visits: list[list[str]] = [[] for _ in range(8)]
        over = Event()

        def visit(seen: list[str]) -> None:
            connection = HTTPConnection("127.0.0.1", self.ingress_port, timeout=20)
            while not over.is_set():
                try:
                    connection.request("GET", "/", headers={"Host": HOST})
                    response = connection.getresponse()
                    seen.append(f"{response.status} {response.read().decode()}")
                except (OSError, HTTPException) as error:
                    seen.append(repr(error))
                    connection.close()

        threads = [Thread(target=visit, args=(seen,)) for seen in visits]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: all(seen.count("200 laptop") >= 20 for seen in visits), "the laptop has served every visitor")
            laptop.send(signal.SIGKILL)
            wait_until(lambda: all(seen.count("200 pod") >= 100 for seen in visits), "the pod has served every visitor")
        finally:
            over.set()
            for thread in threads:
                thread.join()
        for seen in visits:
            # the pod serves all that follows, so a failure stands between the two
            whose = [answer for answer, _ in groupby(seen)]
            failures = [answer for answer in seen if answer not in ("200 laptop", "200 pod")]
            self.assertEqual(whose, ["200 laptop", *failures, "200 pod"])
            self.assertLessEqual(len(failures), 1, failures)

    def test_frozen(self) -> None:
        """A laptop that is stopped takes nothing with it, whatever its weight: what it had not answered goes to the pod."""
        laptop = self.join(255)
        self.assertEqual(self.visit(20), {"200 laptop": 20})
        laptop.send(signal.SIGSTOP)
        self.addCleanup(laptop.send, signal.SIGCONT)
        self.assertEqual(self.visit(200), {"200 pod": 200})
        self.server.wait_for("gives no sign of life: requests go to the others")
        self.server.wait_for("while requests were waiting")
        laptop.send(signal.SIGCONT)
        laptop.wait_for("joined tunnel", 2)
        self.assertEqual(self.visit(20), {"200 laptop": 20})

    def test_service_is_down(self) -> None:
        """Nothing listens at the laptop's target: no visitor sees it, not even with requests that must not be sent twice."""
        self.laptop.stop()
        self.join(255).wait_for("nothing listens at the target")
        connection = HTTPConnection("127.0.0.1", self.ingress_port, timeout=20)
        for number in range(100):
            connection.request("POST", f"/{number}", b"x" * 1000, headers={"Host": HOST})
            response = connection.getresponse()
            self.assertEqual((response.status, response.read()[:5]), (200, b"1000 "))
        connection.close()
        self.server.wait_for("does not reach its target")

    def test_server_restarts(self) -> None:
        """Clients come back after a restart of the server; meanwhile the Ingress answers their upgrades with 502."""
        laptop = self.join(1)
        self.server.send(signal.SIGTERM)
        self.assertEqual(self.server.wait(), 0)
        laptop.wait_for("next attempt in")
        self.server = self.start_server()
        self.sidecar.wait_for("joined tunnel", 2)
        laptop.wait_for("joined tunnel", 2)
        answers = self.visit(100)
        self.assertEqual(set(answers), {"200 pod", "200 laptop"})

    def test_no_connector(self) -> None:
        """Without any connector a visitor gets 503 with Retry-After, and 404 for a host that has no rule."""
        self.sidecar.stop()
        connection = HTTPConnection("127.0.0.1", self.entrypoint_port, timeout=20)
        connection.request("GET", "/", headers={"Host": HOST})
        response = connection.getresponse()
        response.read()
        self.assertEqual((response.status, bool(response.getheader("Retry-After"))), (503, True))
        connection.request("GET", "/", headers={"Host": "other.local"})
        self.assertEqual(connection.getresponse().status, 404)
        connection.close()
