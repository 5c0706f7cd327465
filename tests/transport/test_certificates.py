"""Certificates out of files: what is refused, in which words, and what happens when files change."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.certificates import (
    CHECK_INTERVAL,
    CertificateFileError,
    ReloadingContext,
    client_context,
    self_signed_context,
    server_context,
)
from tests.support.authority import Authority


class FileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = self.mktemp()
        self.authority = Authority(self.directory)
        self.certificate, self.key = self.authority.issue("a.local")

    def write(self, name: str, data: bytes) -> str:
        path = Path(self.directory) / name
        path.write_bytes(data)
        return str(path)

    def refused(self, make: Any, *arguments: Any, **more: Any) -> str:
        text = str(self.assertRaises(CertificateFileError, make, *arguments, **more))
        self.assertNotIn("\n", text)
        return text

    def test_both_in_one_file(self) -> None:
        both = self.write("both.pem", Path(self.certificate).read_bytes() + Path(self.key).read_bytes())
        server_context(both)
        client_context(cert_file=both)

    def test_missing(self) -> None:
        text = self.refused(server_context, "/nowhere/cert.pem", self.key)
        self.assertEqual(text, 'the file "/nowhere/cert.pem" cannot be read: No such file or directory')
        self.assertIn("/nowhere/key.pem", self.refused(server_context, self.certificate, "/nowhere/key.pem"))
        self.assertIn("/nowhere/ca.pem", self.refused(server_context, self.certificate, self.key, "/nowhere/ca.pem"))
        self.assertIn("/nowhere/ca.pem", self.refused(client_context, ca_file="/nowhere/ca.pem"))

    def test_nonsense(self) -> None:
        nonsense = self.write("nonsense.pem", b"\x00nonsense\xff")
        self.assertIn("holds no certificate in PEM", self.refused(server_context, nonsense, self.key))
        self.assertIn("holds no private key in PEM", self.refused(server_context, self.certificate, nonsense))
        self.assertIn("holds no private key in PEM, and no key file is given", self.refused(server_context, self.certificate))
        self.assertIn("holds no CA that can be used", self.refused(client_context, ca_file=nonsense))

    def test_broken(self) -> None:
        broken = self.write("broken.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        self.assertIn("cannot be used", self.refused(server_context, broken, self.key))
        self.assertIn("holds no CA that can be used", self.refused(client_context, ca_file=broken))

    def test_of_another(self) -> None:
        _, other = self.authority.issue("b.local")
        self.assertIn("does not belong to the certificate", self.refused(server_context, self.certificate, other))

    def test_encrypted(self) -> None:
        """Nobody is asked for a password: a service has no terminal."""
        files = self.authority.issue("c.local", password=b"swordfish")
        self.assertIn("is encrypted", self.refused(server_context, *files))

    def test_self_signed(self) -> None:
        (_, first), (_, second) = self_signed_context(), self_signed_context()
        self.assertEqual(len(first), 32 * 3 - 1)
        self.assertNotEqual(first, second)


class RenewedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.directory = self.mktemp()
        self.authority = Authority(self.directory)
        self.made = 0
        self.files = self.authority.issue("a.local", file="cert")
        self.renewed = ReloadingContext(self.make, self.files, what="the certificate", seconds=self.clock.seconds)
        self.renewed.load()

    def make(self) -> Any:
        context = server_context(*self.files)
        self.made += 1
        return context

    def later(self, seconds: float = CHECK_INTERVAL) -> Any:
        self.clock.advance(seconds)
        return self.renewed.current()

    def test_unchanged(self) -> None:
        first = self.renewed.current()
        for _ in range(3):
            self.assertIs(self.later(), first)
        self.assertEqual(self.made, 1)

    def test_changed(self) -> None:
        first = self.renewed.current()
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
        first = self.renewed.current()
        certificate, key = self.authority.issue("a.local", file="next")
        os.replace(certificate, self.files[0])
        self.assertIs(self.later(), first)
        os.replace(key, self.files[1])
        self.assertIsNot(self.later(), first)

    def test_broken(self) -> None:
        """A file that cannot be used changes nothing, is said once, and the next good one counts."""
        first = self.renewed.current()
        for content in (b"nonsense", None):
            path = Path(self.files[0])
            if content is None:
                path.unlink()
            else:
                path.write_bytes(content)
            self.assertIs(self.later(), first)
            self.assertIs(self.later(), first)
        self.authority.issue("a.local", file="cert")
        self.assertIsNot(self.later(), first)

    def test_mounted_as_in_kubernetes(self) -> None:
        """A Secret is changed by pointing a link of its directory at other files."""
        link = Path(self.directory) / "mounted"
        for version in ("1", "2"):
            Authority(Path(self.directory) / version).issue("a.local", file="tls")
        link.symlink_to("1")
        files = [str(link / name) for name in ("tls.pem", "tls.key")]
        renewed = ReloadingContext(lambda: server_context(*files), files, what="the certificate", seconds=self.clock.seconds)
        first = renewed.load()
        other = Path(self.directory) / "other"
        other.symlink_to("2")
        os.replace(other, link)
        self.clock.advance(CHECK_INTERVAL)
        self.assertIsNot(renewed.current(), first)

    def test_never_usable(self) -> None:
        Path(self.files[1]).unlink()
        renewed = ReloadingContext(self.make, self.files, what="the certificate", seconds=self.clock.seconds)
        self.assertRaises(CertificateFileError, renewed.current)
