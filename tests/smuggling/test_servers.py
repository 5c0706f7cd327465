"""Smuggling through real processes to nginx, and to Node.js and Go where they are installed."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.smuggling.cases import EXAMPLES, mutations
from tests.smuggling.run import compare
from tests.smuggling.servers import GoServer, NginxServer, NodeServer, Server


class ServerTests(TestCase):
    timeout = 240

    def agrees(self, kind: type[Server]) -> None:
        with kind() as server:
            result = compare(server, [*EXAMPLES.values(), *mutations(100, kind.program)])
        self.assertEqual(result.disagreements, [])
        self.assertGreater(result.requests, 80, "hardly any request reached it")

    def test_nginx(self) -> None:
        self.agrees(NginxServer)

    def test_node(self) -> None:
        self.agrees(NodeServer)

    def test_go(self) -> None:
        self.agrees(GoServer)
