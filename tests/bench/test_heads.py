"""What the visitors send, and what an Ingress makes of it: wrk and nginx for real, a second of load each."""

from __future__ import annotations

import json
import re

from twisted.trial.unittest import SynchronousTestCase

from bench import nginx
from bench.load import Head, Visit, visit
from bench.stage import HOST, SERVER, Stage
from tests.bench.recorder import Recorder, fields
from tests.support.processes import needed


class HeadTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        needed("wrk")
        self.target = Recorder()
        self.addCleanup(self.target.close)

    def heads(self, port: int, head: Head) -> list[str]:
        """The first heads that reach the target when visitors ask at a port."""
        self.target.heads.clear()
        visit(port, Visit(1, head=head), 1)
        self.assertGreater(len(self.target.heads), 2)
        return self.target.heads

    def nginx(self, name: str, config: str) -> None:
        """Start an nginx that ends with the test; ``self.stage`` is where it runs."""
        needed("nginx")
        self.stage.start(SERVER, nginx.command(self.stage.write(name, config)))

    def enter_stage(self) -> int:
        """:returns: a free port."""
        self.stage = Stage("test", set())
        self.addCleanup(self.stage.__exit__, None, None, None)
        return self.stage.port()


class VisitorTests(HeadTestCase):
    def test_plain(self) -> None:
        # wrk itself takes the first one for a look at it
        self.assertEqual(
            self.heads(self.target.port, Head.PLAIN)[0],
            f"GET /small/2 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: wrk\r\nAccept: */*\r\nX-Visit: 2",
        )

    def test_as_from_an_ingress_values_vary(self) -> None:
        heads = self.heads(self.target.port, Head.INGRESS)
        first, second = (dict(fields(head)) for head in heads[:2])
        self.assertNotEqual(heads[0].partition("\r\n")[0], heads[1].partition("\r\n")[0])
        for name in ("X-Request-ID", "X-Real-IP", "X-Forwarded-For", "Cookie"):
            self.assertNotEqual(first[name], second[name], name)
        for visitor in (first, second):
            self.assertEqual(visitor["X-Forwarded-For"], visitor["X-Real-IP"])
            self.assertRegex(visitor["X-Request-ID"], re.compile("^[0-9a-f]{32}$"))
            self.assertEqual(visitor["X-Forwarded-Host"], HOST)


class IngressTests(HeadTestCase):
    def test_visitors_send_what_an_ingress_passes_on(self) -> None:
        """The head of the visitors that play an Ingress has the fields of a real one, in its order."""
        port = self.enter_stage()
        self.nginx("ingress.conf", nginx.ingress_config(port, self.target.port, HOST))
        self.stage.wait_listening(port)
        real = fields(self.heads(port, Head.BROWSER)[0])
        played = fields(self.heads(self.target.port, Head.INGRESS)[0])
        self.assertEqual([name for name, _ in played], [name for name, _ in real])
        same = {"Host", "X-Forwarded-Host", "User-Agent", "Accept", "Accept-Language", "Accept-Encoding", "Referer"}
        same |= {"Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site"}
        self.assertEqual({pair for pair in played if pair[0] in same}, {pair for pair in real if pair[0] in same})

    def test_ingress_keeps_its_connections(self) -> None:
        port = self.enter_stage()
        self.nginx("ingress.conf", nginx.ingress_config(port, self.target.port, HOST))
        self.stage.wait_listening(port)
        for head in self.heads(port, Head.BROWSER):
            self.assertNotIn("Connection: ", head)


class LogTests(HeadTestCase):
    def log(self, log_format: str) -> list[str]:
        port = self.enter_stage()
        self.nginx("hop.conf", nginx.hop_config(port, [self.target.port], "access.log", log_format))
        self.stage.wait_listening(port)
        self.heads(port, Head.INGRESS)
        return (self.stage.directory / "access.log").read_text(encoding="ascii").splitlines()

    def test_hop_writes_text(self) -> None:
        self.assertIn('"GET /small/2 HTTP/1.1" 200', self.log("text")[0])

    def test_hop_writes_json(self) -> None:
        line = json.loads(self.log("json")[0])
        self.assertEqual((line["host"], line["target"], line["status"]), (HOST, "/small/2", 200))
