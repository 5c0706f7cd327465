"""``make soak`` in short, and that it finds what is wrong."""

from __future__ import annotations

import json
from collections import Counter

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.faults.usage import MIB, Usage
from tests.soak.books import complaints
from tests.soak.run import Soak, soak
from tests.soak.traffic import KINDS


def line(kind: str, outcome: str, **more: object) -> str:
    """A line of the access log."""
    return json.dumps({"kind": kind, "outcome": outcome, "tunnel": "10bc451e", "retries": 0, "request_id": None, **more})


class BooksTests(SynchronousTestCase):
    """The access log against the metrics and against what was sent."""

    lines = (line("http", "answered", request_id="soak-0", retries=1), line("tls", "done"), line("udp", "done"))
    samples = (
        'rtunnel_server_requests_total{outcome="answered"} 1.0',
        'rtunnel_server_requests_total{outcome="aborted"} 0.0',
        'rtunnel_server_tls_connections_total{outcome="done"} 1.0',
        'rtunnel_server_visits_total{outcome="done"} 1.0',
        'rtunnel_server_tunnel_requests_total{tunnel="10bc451e",outcome="answered"} 1.0',
        'rtunnel_server_tunnel_requests_total{tunnel="10bc451e",outcome="done"} 2.0',
        "rtunnel_server_retries_total 1.0",
    )

    def test_agree(self) -> None:
        self.assertEqual(complaints(self.lines, self.samples, {"soak-0"}), [])

    def test_each_sample_counts(self) -> None:
        for number, sample in enumerate(self.samples):
            name, value = sample.rsplit(" ", 1)
            samples = [*self.samples[:number], f"{name} {float(value) + 1}", *self.samples[number + 1 :]]
            (found,) = complaints(self.lines, samples, {"soak-0"})
            self.assertTrue(found.startswith(name.partition("{")[0]), found)

    def test_each_request_has_one_line(self) -> None:
        self.assertEqual(complaints(self.lines, self.samples, {"soak-0", "soak-1"}), ["request soak-1 has 0 lines"])
        self.assertEqual(complaints(self.lines, self.samples, ()), ["request soak-0 was not sent by anybody"])
        twice = complaints([*self.lines, self.lines[0]], self.samples, {"soak-0"})
        self.assertIn("request soak-0 has 2 lines", twice)


class SoakTests(TestCase):
    timeout = 120

    def test_short(self) -> None:
        """All kinds of visits, most of the mishaps; memory is for longer ones."""
        result = soak(8, warm_up=2, pause=0.5, growth=40, rest=0, least=3)
        self.assertEqual(result.wrong, [])
        self.assertGreater(result.mishaps, 2)
        self.assertEqual({kind for kind, outcome in result.outcomes if outcome == "ok"}, set(KINDS))

    def test_what_is_left(self) -> None:
        usage = Usage(50 * MIB, 10, 2)
        result = Soak(Counter(), 0, {"server": usage}, {"server": usage}, 10, 0, [])
        self.assertEqual(result.wrong, [])
        for after, found in {
            evolve(usage, resident=61 * MIB): "server: 50.0 MiB before, 61.0 after",
            evolve(usage, descriptors=11): "server: 10 descriptors before, 11 after",
            evolve(usage, threads=3): "server: 2 threads before, 3 after",
        }.items():
            self.assertEqual(evolve(result, after={"server": after}).wrong, [found])
