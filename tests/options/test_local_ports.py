"""Ports of this machine that lead to what a pod reaches."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.local_ports import FORWARD, LOOPBACK
from rtunnel.settings import Address, LocalForward


class ForwardTests(SynchronousTestCase):
    def test_parse(self) -> None:
        for text, listen, host, port in (
            ("5432:postgres:5432", Address("127.0.0.1", 5432), "postgres", 5432),
            ("redis.shop:6379", Address("127.0.0.1", 6379), "redis.shop", 6379),
            ("127.77.0.6:6380:redis.shop:6379", Address("127.77.0.6", 6380), "redis.shop", 6379),
            ("8080:[fd00::7]:80", Address("127.0.0.1", 8080), "fd00::7", 80),
            ("[::1]:8080:[fd00::7]:80", Address("::1", 8080), "fd00::7", 80),
        ):
            self.assertEqual(FORWARD.parse(text), LocalForward(listen, host, port), text)

    def test_show(self) -> None:
        """What is shown is read as the same."""
        for text in ("5432:postgres:5432", "127.77.0.6:6380:redis.shop:6379", "[::1]:8080:[fd00::7]:80"):
            forward = FORWARD.parse(text)
            self.assertEqual(FORWARD.parse(FORWARD.show(forward)), forward)

    def test_refused(self) -> None:
        for text, why in (
            ("5432", "is no forward"),
            ("5432:5432", "is no forward"),
            ("postgres:0", "is no forward"),
            ("postgres:65536", "is no forward"),
            ("x:postgres:5432", "no port"),
            ("192.0.2.1:5432:postgres:5432", "is not on loopback"),
        ):
            self.assertIn(why, str(self.assertRaises(ValueError, FORWARD.parse, text)), text)


class LoopbackTests(SynchronousTestCase):
    def test_refused(self) -> None:
        for text in ("0.0.0.0:1080", ":1080", "192.0.2.1:1080", "example.org:1080"):
            self.assertIn("is not on loopback", str(self.assertRaises(ValueError, LOOPBACK.parse, text)))
        self.assertIn("--proxy-file", str(self.assertRaises(ValueError, LOOPBACK.parse, "http://proxy:3128")))

    def test_parse(self) -> None:
        self.assertEqual(LOOPBACK.parse("localhost:0"), Address("localhost", 0))
