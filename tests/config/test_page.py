"""The files and messages in docs/configuration.md are those of the program."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.config.layout import CLIENT_LAYOUT, SERVER_LAYOUT
from rtunnel.config.reading import which
from rtunnel.config.summary import summary
from rtunnel.options.table import find
from rtunnel.roles import CLIENT_ROLE, SERVER_ROLE
from rtunnel.settings import ClientSettings, ServerSettings, SettingsError

PAGE = Path(__file__).parent.parent.parent / "docs" / "configuration.md"
UUID = "10bc451e-59dc-4c70-999e-91a30813ac78"


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.text = PAGE.read_text(encoding="utf-8")

    def write(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return str(path)

    def settings(self, path: str) -> ServerSettings | ClientSettings:
        if which(path) is SERVER_LAYOUT:
            return SERVER_ROLE.load([(find(SERVER_LAYOUT.rows, "config"), "-c", path)], {}).settings
        return CLIENT_ROLE.load([(find(CLIENT_LAYOUT.rows, "config"), "-c", path)], {}).settings

    def test_files(self) -> None:
        blocks = [block for block in re.findall(r"```yaml\n(.*?)```", self.text, re.DOTALL) if not block.startswith("#")]
        self.assertEqual(len(blocks), 2)
        for block in blocks:
            self.settings(self.write(block))

    def test_errors(self) -> None:
        path = self.write(
            f"listeners:\n- listen: :8421\n  entrypoint: 80\n  routes:\n    a: {UUID}\n  http:\n    idle-timout: 5s\n"
        )
        error = self.assertRaises(SettingsError, self.settings, path)
        self.assertIn(str(error).replace(path, "server.yaml"), self.text)

    def test_summary(self) -> None:
        first = next(iter(re.findall(r"```yaml\n(.*?)```", self.text, re.DOTALL)))
        self.assertIn(f"server.yaml: valid: {summary(self.settings(self.write(first)))}", self.text)
