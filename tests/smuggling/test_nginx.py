"""Smuggling through real processes to nginx; ``python -m tests.smuggling`` does the same with Node.js and Go, where they are."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.smuggling.cases import EXAMPLES, mutations
from tests.smuggling.run import compare
from tests.smuggling.servers import NginxServer


class NginxTests(TestCase):
    timeout = 120

    def test_agreement(self) -> None:
        with NginxServer() as server:
            result = compare(server, [*EXAMPLES.values(), *mutations(100, "nginx")])
        self.assertEqual(result.disagreements, [])
        self.assertGreater(result.requests, 80, "hardly any request reached it")
