"""Files of users and permissions that cannot be read."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.files import read
from rtunnel.auth.users import Users
from rtunnel.settings import SettingsError


class ReadTests(SynchronousTestCase):
    def refused(self, path: str, words: str) -> None:
        error = self.assertRaises(SettingsError, read, path, Users.parse)
        self.assertIn(words, str(error))

    def test_errors(self) -> None:
        path: str = self.mktemp()
        self.refused(path, f"{path}: cannot be read: No such file or directory")
        Path(path).write_bytes(b"\xff\xfe")
        self.refused(path, f"{path}: is not text in UTF-8")
        Path(path).write_text("# one\nalice\n")
        self.refused(path, f"{path}:2: is not NAME:HASH")
