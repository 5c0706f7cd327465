"""The scenario with a laptop: shares, failures, restarts."""

from __future__ import annotations

import signal
from collections import Counter
from http.client import HTTPConnection, HTTPException
from itertools import groupby
from threading import Event, Thread

from tests.process.scenario import HOST, Scenario
from tests.support.processes import Process, wait_until


class ScenarioTests(Scenario):
    """What the laptop gets, and what happens when a part goes."""

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
