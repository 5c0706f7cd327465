"""Smuggling through an entrypoint in memory: what leaves for targets, as h11, httptools and Twisted's server read it."""

from __future__ import annotations

from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.routing.ingress import EVERY_HOST, IngressRule, normalise_host
from tests.server.harness import FarStream, Visitor, World
from tests.smuggling.backends import BACKENDS, Seen, agree
from tests.smuggling.cases import EXAMPLES, mutations
from tests.smuggling.forwarding import forwarded
from tests.support.heads import OK
from tests.support.ids import TUNNEL

MUTATIONS = 400


class EntrypointTests(SynchronousTestCase):
    """With heads that are parsed."""

    learned: ClassVar[bool] = False

    def setUp(self) -> None:
        self.world = World(self, learned=self.learned)
        self.world.rules(IngressRule(EVERY_HOST, TUNNEL))
        self.connector = self.world.attach()

    def test_corpus(self) -> None:
        served = {name: self.serve(name, data) for name, data in EXAMPLES.items()}
        self.assertGreater(sum(map(bool, served.values())), 40, "hardly anything was passed on")
        self.assertEqual(served["pipelined"], 3)
        for name in ("cl-te", "te-cl", "te-space-before-colon", "cl-twice-other", "host-twice", "te-bare-lf", "version-09"):
            self.assertEqual(served[name], 0, name)

    def test_mutations(self) -> None:
        for data in mutations(MUTATIONS, f"entrypoint {self.learned}"):
            self.serve(repr(data), data)

    def serve(self, name: str, data: bytes) -> int:
        """Send bytes as a visitor, answer each request, and compare; returns how many requests there were."""
        visitor = self.world.visit(data)
        written = self.answer_all(visitor)
        understood = forwarded(data)[0]
        for backend, read in BACKENDS.items():
            seen: list[Seen] = []
            for stream, bytes_of_it in written:
                found, went_on = read(bytes_of_it)
                seen += found
                self.assertTrue(all(self.routed(request, stream) for request in found), f"{name}: another host for {backend}")
                self.assertLessEqual(len(found), 1, f"{name}: {backend} sees several requests in what is one")
                self.assertTrue(went_on or not found or agree([found[0]], found, went_on))
            if len(seen) == len(written):
                self.assertEqual(seen, understood[: len(seen)], f"{name}: {backend}")
        visitor.vanish()
        return len(written)

    def answer_all(self, visitor: Visitor) -> list[tuple[FarStream, bytes]]:
        """Answer the requests of a visitor as they come; returns the bytes of each, with its stream."""
        written = []
        while new := [(stream, data) for stream in self.connector.streams if (data := stream.take())]:
            self.assertEqual(len(new), 1, "a visitor's requests are answered one after another")
            written += new
            stream, data = new[0]
            if not visitor.near.connected or not visitor.near.protocol.requests.whole:
                break
            stream.answer(OK[:-3] if data.startswith(b"HEAD ") else OK)
        return written

    def routed(self, request: Seen, stream: FarStream) -> bool:
        """Whether a request was routed by the host that a backend sees."""
        _, destination = stream.preface.addresses
        return bool(normalise_host(request.host.decode("latin-1")) == destination.host)


class LearnedEntrypointTests(EntrypointTests):
    """With heads of the usual kinds read by templates."""

    learned = True
