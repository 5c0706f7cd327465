from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from bench import bytecodes
from bench.exchange import KINDS, VISITORS, Exchanges
from bench.forwarding import Forwardings

#: The part of the visitors' own X-Request-ID that does not vary.
_OWN_ID = b"6f0c2b9e41d7a85300c4e1f2"


class ExchangeTests(SynchronousTestCase):
    """Each kind goes through the server's code as its name says."""

    def exchanges(self, name: str) -> Exchanges:
        exchanges = Exchanges(KINDS[name])
        # the first heads of a shape are read another way than the later ones
        for _ in range(100):
            self.assertGreater(exchanges.turn(), 0)
        return exchanges

    def test_plain(self) -> None:
        exchanges = self.exchanges("plain")
        self.assertEqual(len(set(exchanges.heads)), VISITORS)
        self.assertEqual(exchanges.lines, [])
        for head in exchanges.heads:
            self.assertTrue(head.startswith(b"GET /small/"), head)

    def test_goes_on(self) -> None:
        """The client returns credit: 12 MiB of heads are more than may be under way."""
        exchanges = Exchanges(KINDS["as from an Ingress"])
        for _ in range(12 * 1024 * 1024 // VISITORS // 700):
            exchanges.turn()

    def test_ingress_is_believed(self) -> None:
        for head in self.exchanges("as from an Ingress").heads:
            self.assertEqual(head.count(_OWN_ID), 1)
            self.assertEqual(head.lower().count(b"x-request-id:"), 1)
            self.assertIn(b"198.51.100.", head)

    def test_ingress_is_not_believed(self) -> None:
        for head in self.exchanges("as from an Ingress, not believed").heads:
            self.assertEqual(head.lower().count(b"x-request-id:"), 1)
            self.assertNotIn(_OWN_ID, head)

    def test_log_has_a_line_of_each(self) -> None:
        self.assertEqual(len(self.exchanges("plain, text log").lines), VISITORS)
        for line in self.exchanges("plain, JSON log").lines:
            self.assertEqual(json.loads(line)["status"], 200)

    def test_log_names_the_visitor_behind_an_ingress(self) -> None:
        for line in self.exchanges("as from an Ingress, text log").lines:
            self.assertTrue(line.startswith("198.51.100."), line)


class ForwardingTests(SynchronousTestCase):
    """Exchanges through the client's code."""

    def test_goes_on(self) -> None:
        """Both directions return their credit: 3 MiB of a stream are more than may be under way."""
        forwardings = Forwardings()
        for _ in range(3 * 1024 * 1024 // 200):
            self.assertGreater(forwardings.turn(), 0)


class BytecodesTests(SynchronousTestCase):
    """What is counted is the code of the one end, and the same each time."""

    def counted(self, name: str) -> dict[str, int]:
        return dict(bytecodes.of_kind(name).executed)

    def test_server(self) -> None:
        counted = self.counted("plain")
        self.assertGreater(counted["src/rtunnel/server/entrypoint/exchange.py: Exchange.start"], 0)
        self.assertNotIn("src/rtunnel/client/targets.py: ForwardedStream.dataReceived", counted)
        self.assertEqual(self.counted("plain"), counted)

    def test_client(self) -> None:
        counted = self.counted("client")
        self.assertGreater(counted["src/rtunnel/tunnel/splice.py: Side.dataReceived"], 0)
        self.assertNotIn("src/rtunnel/server/entrypoint/exchange.py: Exchange.start", counted)
