"""Targets as users write them."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.options.targets import HEADER, TARGETS, udp_targets, unix_targets


class TargetTests(SynchronousTestCase):
    def test_written_as_read(self) -> None:
        for text in (
            "localhost:80",
            "a:80,b:81",
            "[::1]:80?path=/api",
            "unix:/run/my%20app.sock,a:80",
            "udp://localhost:53",
            "udp://[::1]:53?host=*.example.org,udp://b:54",
            "a:80?host=*.example.org&path=/a%2Cb/&protocol=http,unix:/b?protocol=tls",
        ):
            self.assertEqual(str(TARGETS.parse(text)), text)

    def test_ranges(self) -> None:
        self.assertEqual(str(TARGETS.parse(":80-82?path=/a")), "localhost:80?path=/a,localhost:81?path=/a,localhost:82?path=/a")

    def test_refused(self) -> None:
        for text, words in [
            ("", "no port"),
            ("a:80,", "no port"),
            ("a:0", "no port to connect to"),
            ("a:1-300", "larger than 256"),
            ("unix:app.sock", "must be an absolute path"),
            ("a:80?path=api", 'does not begin with "/"'),
            ("a:80?path=/a%3Fb", 'contains "?"'),
            ("a:80?pfad=/api", "invalid filter"),
            ("a:80?path=/a&path=/b", "each at most once"),
            ("a:80?", "invalid filter"),
            ("a:80?protocol=smtp", "write one of http, tls, ssh"),
            ("udp://:0", "no port to connect to"),
            ("udp://a:53,b:53", "mixes UDP and TCP"),
            ("udp://a:53?path=/a", "filter by host"),
            (",".join(["a:1"] * 257), "must have 1 to 256 targets"),
        ]:
            with self.subTest(text=text):
                error = self.assertRaises(ValueError, TARGETS.parse, text)
                self.assertIn(words, str(error))

    @given(st.text(":,?&=/%.-[]ahnoprtux0123456789*", max_size=40))
    def test_any_text(self, text: str) -> None:
        """Any text is a list, which can be parsed again from what it shows, or an error."""
        with contextlib.suppress(ValueError):
            targets = TARGETS.parse(text)
            self.assertEqual(TARGETS.parse(str(targets)), targets)

    def test_runix(self) -> None:
        self.assertEqual(str(TARGETS.parse(unix_targets("run/a,/run/b"))), "unix:/run/a,unix:/run/b")

    def test_rudp(self) -> None:
        self.assertEqual(str(TARGETS.parse(udp_targets("a:53, :54"))), "udp://a:53,udp://localhost:54")

    def test_header(self) -> None:
        self.assertEqual(HEADER.parse("X-A = b=c"), ("X-A", "b=c"))
        for text in ("X-A", "=b"):
            self.assertRaises(ValueError, HEADER.parse, text)
