"""The document at ``/explain``."""

from __future__ import annotations

import json
from typing import Any

from rtunnel.server.explaining import explanations
from rtunnel.server.tunnel_stats import connector_stats
from tests.server.harness import HttpCase


class ExplainTests(HttpCase):
    def explain(self, query: bytes) -> Any:
        return json.loads(explanations(query, [(self.world.entrypoint,), ()]))

    def test_document(self) -> None:
        self.world = self.make_world()
        self.world.attach()
        laptop = self.world.attach(filters=["cookie:debug=a b; method=POST"])
        laptop.connector.name = "älice"
        self.world.entrypoint.address = "*:80"
        document = self.explain(b"host=POD.local:80&path=/x%3Fy&header=Cookie%3A+debug%3Da+b&method=POST")
        self.assertEqual((document["explain_version"], document["host"]), (1, "pod.local"))
        (found,) = document["explanations"]
        self.assertEqual((found["entrypoints"], found["rule"], found["status"]), (["*:80"], "pod.local", None))
        first, second = found["connectors"]
        self.assertEqual((first["holder"], first["share"], second["share"]), ("älice", 1, 0))
        self.assertEqual([term["matches"] for term in first["filters"][0]["terms"]], [True, True])

    def test_wrong_queries(self) -> None:
        self.world = self.make_world()
        for query, words in (
            (b"", "host"),
            (b"host=", "host"),
            (b"host=a&header=b", "Name: value"),
            (b"host=a&nonsense=b", "nonsense"),
            (b"host=a&path=%0d%0a", "control"),
            (b"host=a%00", "control"),
        ):
            with self.assertRaisesRegex(ValueError, words):
                self.explain(query)


class MetricTests(HttpCase):
    def test_holder_and_filters(self) -> None:
        """The metrics name them as explanations do; whoever has only an address has no name."""
        self.world = self.make_world()
        found = []
        for name, user, filters in (("", "", []), ("al", "", ["path=/a", "path=/b"]), ("al", "alice", [])):
            connector = self.world.attach(filters=filters).connector
            connector.name, connector.user = name, user
            stats = connector_stats(connector)
            found.append((stats.holder, stats.intercept))
        self.assertEqual(found, [("", ""), ("al", "path=/a or path=/b"), ("alice", "")])
