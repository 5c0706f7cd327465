"""``rtunnel schema``."""

from __future__ import annotations

import json

from rtunnel.config.layout import CLIENT_LAYOUT
from rtunnel.config.schema import schema
from tests.commands.harness import CommandTestCase


class SchemaTests(CommandTestCase):
    def test_published(self) -> None:
        status, output, errors = self.run_command("schema", "client")
        self.assertEqual((status, json.loads(output), errors), (0, schema(CLIENT_LAYOUT), ""))

    def test_wrong_role(self) -> None:
        status, output, errors = self.run_command("schema", "nobody")
        self.assertEqual((status, output, errors.count("\n")), (1, "", 1))
        self.assertIn("rtunnel schema: role: invalid choice: 'nobody'", errors)
