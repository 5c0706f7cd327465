"""``rtunnel explain``, with answers from the tests."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.commands.harness import CommandTestCase
from tests.commands.test_status import answering, http

CONNECTOR = {"id": "9c07a511", "holder": "ali\x1bce", "weight": 1, "share": 1 / 3, "because": "no filter matches"}
FILTER = {
    "filter": "method=GET; path=/x",
    "matches": False,
    "terms": [{"term": "method=GET", "matches": True}, {"term": "path=/x", "matches": False}],
}
FOUND = {"entrypoints": ["*:80"], "rule": "*.local", "tunnel": "10bc451e", "status": None, "because": ""}


class ExplainTests(CommandTestCase):
    document: ClassVar[dict[str, Any]] = {
        "explain_version": 1,
        "host": "a.local",
        "explanations": [{**FOUND, "connectors": [{**CONNECTOR, "filters": [FILTER]}]}],
    }

    def explain(self, document: dict[str, Any], *words: str) -> tuple[int, str, str]:
        with answering(http(json.dumps(document).encode())) as address:
            return self.run_command("explain", "--admin", address, "a.local", *words)

    def test_text(self) -> None:
        status, output, errors = self.explain(self.document, "--header", "X-User: alice", "--cookie", "a=b", "--path", "/api")
        self.assertEqual((status, errors), (0, ""))
        self.assertEqual(
            output.splitlines(),
            [
                "entrypoint *:80: a.local -> tunnel 10bc451e (rule *.local)",
                "  33.3 %  9c07a511 ali\\x1bce, weight 1: no filter matches",
                "            matches  method=GET",
                "            differs  path=/x",
            ],
        )

    def test_json(self) -> None:
        status, output, _ = self.explain(self.document, "--json")
        self.assertEqual((status, json.loads(output)), (0, self.document))

    def test_nobody(self) -> None:
        found = {"entrypoints": ["*:80"], "rule": None, "tunnel": None, "status": 404, "because": "no rule", "connectors": []}
        status, output, _ = self.explain({**self.document, "explanations": [found]})
        self.assertEqual((status, output), (2, "entrypoint *:80: a.local\n  nobody, 404: no rule\n"))

    def test_refused(self) -> None:
        status, _, errors = self.explain({})
        self.assertEqual(status, 1)
        self.assertIn("use the same rtunnel", errors)
        status, _, errors = self.run_command("explain", "a.local", "--header", "X-User")
        self.assertEqual((status, errors.count("\n")), (1, 1))
        self.assertIn("has no colon", errors)
