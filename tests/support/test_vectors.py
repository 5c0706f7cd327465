"""The recordings are read as they were made."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.vectors import CLIENT, SERVER, conversations, names, reads


class VectorsTests(SynchronousTestCase):
    """What the files hold, with and without WebSocket."""

    def test_names(self) -> None:
        self.assertEqual(len(names()), 12)
        self.assertIn("bind-http-ws", names())

    def test_connections(self) -> None:
        self.assertEqual([conversation.conn for conversation in conversations("private-udp-visitor")], [1, 2, 3])
        for name in names():
            for conversation in conversations(name):
                self.assertEqual({read.sender for read in conversation.reads}, {CLIENT, SERVER})
                self.assertEqual(sum(read.ended for read in conversation.reads), 2, name)

    def test_tcp_is_given_as_it_was(self) -> None:
        (conversation,) = conversations("bind-http-tcp")
        self.assertEqual(list(conversation.reads), list(reads("bind-http-tcp")))
        self.assertTrue(conversation.sent_by(CLIENT).startswith(b"\x01\x02"))

    def test_websocket_is_taken_away(self) -> None:
        (wrapped,) = conversations("bind-http-ws")
        (plain,) = conversations("bind-http-tcp")
        # both recordings show the same: only ids, ports and a header that gost makes up differ, not their lengths
        for sender in (CLIENT, SERVER):
            self.assertEqual(len(wrapped.sent_by(sender)), len(plain.sent_by(sender)))
            self.assertTrue(wrapped.sent_by(sender).startswith(plain.sent_by(sender)[:4]))
        raw = b"".join(read.data for read in reads("bind-http-ws") if read.sender == CLIENT)
        self.assertTrue(raw.startswith(b"GET /proxy HTTP/1.1\r\n"))
        self.assertIn(b"HTTP/1.1 200 OK", wrapped.sent_by(CLIENT))
        self.assertNotIn(b"HTTP/1.1 200 OK", raw)
