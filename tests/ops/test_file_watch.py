"""Files that change: watched, and looked at by who needs them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.file_watch import CHECK_INTERVAL, FileWatcher, ReloadedValue
from rtunnel.settings import SettingsError
from rtunnel.transport.certificates import CertificateFileError, server_context
from tests.support.authority import Authority
from tests.support.logs import logged


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
        self.clock.advance(CHECK_INTERVAL)

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


class ReloadedValueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = self.mktemp()
        self.authority = Authority(self.directory)
        self.made = 0
        self.files = self.authority.issue("a.local", file="cert")
        self.value = ReloadedValue(self.make, self.files, unusable=CertificateFileError, what="the certificate", reactor=self.clock)
        self.value.load()

    def make(self) -> Any:
        context = server_context(*self.files)
        self.made += 1
        return context

    def later(self, seconds: float = CHECK_INTERVAL) -> Any:
        self.clock.advance(seconds)
        return self.value.current()

    def test_unchanged(self) -> None:
        first = self.value.current()
        for _ in range(3):
            self.assertIs(self.later(), first)
        self.assertEqual(self.made, 1)

    def test_changed(self) -> None:
        first = self.value.current()
        self.authority.issue("a.local", file="cert")
        self.assertIsNot(self.later(), first)
        self.assertEqual(self.made, 2)

    def test_looks_at_most_once_in_an_interval(self) -> None:
        first = self.later()
        self.authority.issue("a.local", file="cert")
        self.assertIs(self.later(CHECK_INTERVAL / 2), first)
        self.assertIsNot(self.later(CHECK_INTERVAL / 2), first)

    def test_half_way(self) -> None:
        """A certificate that has been written while its key has not: the old pair stays until both are there."""
        first = self.value.current()
        certificate, key = self.authority.issue("a.local", file="next")
        os.replace(certificate, self.files[0])
        self.assertIs(self.later(), first)
        os.replace(key, self.files[1])
        self.assertIsNot(self.later(), first)

    def test_broken(self) -> None:
        """A file that cannot be used changes nothing, is said once, and the next good one counts."""
        first = self.value.current()
        for content in (b"nonsense", None):
            path = Path(self.files[0])
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            with logged() as lines:
                self.assertIs(self.later(), first)
                self.assertIs(self.later(), first)
            (line,) = lines
            self.assertIn("the certificate changed and cannot be used, the previous one stays: the file", line)
        self.authority.issue("a.local", file="cert")
        self.assertIsNot(self.later(), first)

    def test_mounted_as_in_kubernetes(self) -> None:
        """A Secret is changed by pointing a link of its directory at other files."""
        link = Path(self.directory) / "mounted"
        for version in ("1", "2"):
            Authority(Path(self.directory) / version).issue("a.local", file="tls")
        link.symlink_to("1")
        files = [str(link / name) for name in ("tls.pem", "tls.key")]
        value = ReloadedValue(
            lambda: server_context(*files), files, unusable=CertificateFileError, what="the certificate", reactor=self.clock
        )
        first = value.load()
        other = Path(self.directory) / "other"
        other.symlink_to("2")
        os.replace(other, link)
        self.clock.advance(CHECK_INTERVAL)
        self.assertIsNot(value.current(), first)

    def test_never_usable(self) -> None:
        Path(self.files[1]).unlink()
        value = ReloadedValue(self.make, self.files, unusable=CertificateFileError, what="the certificate", reactor=self.clock)
        self.assertRaises(CertificateFileError, value.current)
