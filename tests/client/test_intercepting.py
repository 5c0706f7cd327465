"""What a client that intercepts says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.client import intercepting
from rtunnel.client.intercepting import default_name, describe_conflict, example_request, share_links, span
from rtunnel.routing.intercept_terms import InterceptFilter
from rtunnel.wire.relay_intercepts import InterceptAnswer


class ExampleTests(SynchronousTestCase):
    """A command that can be copied."""

    def example(self, *filters: str, hosts: tuple[str, ...] = ("shop.example.org",), secure: bool = False) -> str | None:
        return example_request(tuple(map(InterceptFilter.parse, filters)), hosts, secure=secure)

    def test_commands(self) -> None:
        for wanted, command in (
            ("header:X-User=alice", "curl -H 'x-user: alice' http://shop.example.org/"),
            ("header:X-User=it's", "curl -H 'x-user: it'\"'\"'s' http://shop.example.org/"),
            ("header:X-Debug", "curl -H 'x-debug: 1' http://shop.example.org/"),
            ("header:X-Debug=", "curl -H 'x-debug;' http://shop.example.org/"),
            ("cookie:debug=alice; path^=/api/", "curl -b debug=alice http://shop.example.org/api/"),
            ("baggage:s=a b; method=POST,PUT", "curl -H 'baggage: s=a%20b' -X POST http://shop.example.org/"),
            ("query:a b".replace(" ", "-") + "=c&d; !header:X", "curl 'http://shop.example.org/?a-b=c%26d'"),
            ("host=other.example.org; path=/é", "curl http://other.example.org/%C3%A9"),
        ):
            self.assertEqual(self.example(wanted), command, wanted)

    def test_tls(self) -> None:
        """An Ingress with TLS would answer the other URL with a redirect, which curl does not follow."""
        self.assertEqual(self.example("header:X-User=alice", secure=True), "curl -H 'x-user: alice' https://shop.example.org/")

    def test_none(self) -> None:
        """Nothing is made up for a pattern, or without a host."""
        self.assertIsNone(self.example("header:X*=a*b"))
        self.assertIsNone(self.example("path=/", hosts=("*.example.org",)))
        self.assertEqual(self.example("header:X*=a*b", "path=/x"), "curl http://shop.example.org/x")


class LinkTests(SynchronousTestCase):
    def test_links(self) -> None:
        hosts = ("a.example.org", "*.example.org")
        self.assertEqual(share_links("alice", hosts, secure=True), ["https://a.example.org/?rtunnel-session=alice"])
        self.assertEqual(share_links("alice", hosts, secure=False), ["http://a.example.org/?rtunnel-session=alice"])
        self.assertEqual(share_links("", hosts, secure=True), [])


class WordsTests(SynchronousTestCase):
    def test_conflict(self) -> None:
        """Names of others are shown, but do not reach the terminal."""
        answer = InterceptAnswer(why="path=/a", holder="eve\x1b[2J", taken="path^=/")
        text = describe_conflict(answer)
        self.assertIn('requests with "path=/a" are taken by eve\\x1b[2J with "path^=/"', text)
        self.assertTrue(text.isprintable())

    def test_other_refusals(self) -> None:
        self.assertEqual(describe_conflict(InterceptAnswer(why="too long\n")), "the server refused: too long\\n")

    def test_for_how_long(self) -> None:
        """What for, until when, and whether the holder is there at all."""
        answer = InterceptAnswer(why="path=/", holder="eve", taken="path=/", reason="lunch\x1b", left=7201, held=True)
        text = describe_conflict(answer)
        self.assertIn('are taken by eve with "path=/" (for "lunch\\x1b", for another 2 h, whose link is lost); ask them', text)

    def test_spans(self) -> None:
        self.assertEqual(
            [span(seconds) for seconds in (0, 59.6, 119, 120, 7199, 7200)], ["0 s", "60 s", "119 s", "2 min", "120 min", "2 h"]
        )

    def test_name(self) -> None:
        self.patch(intercepting, "_NAMESPACE", Path(self.mktemp()))
        self.patch(os, "environ", {})
        self.assertRegex(default_name(), r"^.+@.+$")

    def test_name_in_a_pod(self) -> None:
        """Kubernetes says the namespace, in a file or, where the manifest has it, in variables."""
        path = Path(self.mktemp())
        path.write_text("shop\n")
        self.patch(intercepting, "_NAMESPACE", path)
        self.patch(os, "environ", {})
        self.assertEqual(default_name(), f"{socket.gethostname()}/shop")
        self.patch(os, "environ", {"POD_NAME": "nginx-1", "POD_NAMESPACE": "web"})
        self.assertEqual(default_name(), "nginx-1/web")
