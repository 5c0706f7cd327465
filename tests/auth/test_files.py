"""Files that are read again."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.auth.files import LOOK, FileWatcher, read
from rtunnel.auth.users import Users
from rtunnel.settings import SettingsError
from tests.support.logs import logged


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


class WatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("one")
        self.clock = Clock()
        self.seen: list[str] = []
        self.watch = FileWatcher((str(self.path),), self.reload, self.clock)
        self.watch.start()

    def reload(self) -> None:
        text = self.path.read_text() if self.path.exists() else "gone"
        if text == "bad":
            raise SettingsError(f"{self.path}:1", None, "is bad; write good")
        self.seen.append(text)

    def look(self) -> None:
        self.clock.advance(LOOK)

    def test_unchanged(self) -> None:
        for _ in range(5):
            self.look()
        self.assertEqual(self.seen, [])

    def test_changed(self) -> None:
        self.path.write_text("other")
        self.look()
        self.assertEqual(self.seen, [])
        for _ in range(3):
            self.look()
        self.assertEqual(self.seen, ["other"])

    def test_while_it_is_written(self) -> None:
        """It is read when it stands still."""
        for number in range(5):
            self.path.write_text("x" * (10 + number))
            self.look()
        self.assertEqual(self.seen, [])
        self.look()
        self.assertEqual(self.seen, ["x" * 14])

    def test_replaced(self) -> None:
        """As editors and Kubernetes do: another file takes the name."""
        other = Path(f"{self.path}.new")
        other.write_text("two")
        os.utime(other, ns=(0, self.path.stat().st_mtime_ns))
        other.replace(self.path)
        self.look()
        self.look()
        self.assertEqual(self.seen, ["two"])

    def test_broken(self) -> None:
        """One line for each change, with place and hint; the next good one is read."""
        self.path.write_text("bad")
        with logged() as lines:
            for _ in range(5):
                self.look()
        (line,) = lines
        self.assertIn(":1: is bad; write good; what was read before stays in force", line)
        self.path.write_text("good")
        self.look()
        self.look()
        self.assertEqual(self.seen, ["good"])

    def test_stop(self) -> None:
        self.watch.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
