"""Certificates out of files: what is refused, in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.transport.certificates import (
    CertificateFileError,
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
