"""The refusal of HTTP/2, as another implementation of it reads it."""

from __future__ import annotations

from itertools import pairwise

import h2.config
import h2.connection
import h2.events
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http2_refusal import CLIENT_PREFACE, MAX_BEFORE, Http2Refusal

TEXT = b"505 HTTP Version Not Supported: not here\n"


def client() -> h2.connection.H2Connection:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    return connection


def frame(kind: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, 0)) + bytes(4) + payload


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.refusal = Http2Refusal(505, TEXT)

    def ask(self, connection: h2.connection.H2Connection, **more: str) -> None:
        fields = {":method": "POST", ":path": "/x", ":scheme": "http", ":authority": "pod.local", **more}
        connection.send_headers(connection.get_next_available_stream_id(), list(fields.items()))

    def read(self, connection: h2.connection.H2Connection, output: bytes) -> None:
        """The response is one to the first request, and then the server goes."""
        events = connection.receive_data(output)
        (response,) = (event for event in events if isinstance(event, h2.events.ResponseReceived))
        self.assertEqual(
            [(str(name), str(value)) for name, value in response.headers or []],
            [(":status", "505"), ("content-type", "text/plain; charset=utf-8"), ("content-length", str(len(TEXT)))],
        )
        self.assertEqual(b"".join(event.data or b"" for event in events if isinstance(event, h2.events.DataReceived)), TEXT)
        self.assertEqual([event.stream_id for event in events if isinstance(event, h2.events.StreamEnded)], [1])
        (end,) = (event for event in events if isinstance(event, h2.events.ConnectionTerminated))
        self.assertEqual((end.error_code, end.last_stream_id, end.additional_data), (0, 1, TEXT))
        self.assertTrue(self.refusal.done)

    def test_request(self) -> None:
        connection = client()
        self.ask(connection)
        self.read(connection, self.refusal.receive(connection.data_to_send()))

    def test_request_comes_later(self) -> None:
        """After the server's settings, as clients of gRPC do."""
        connection = client()
        settings = self.refusal.receive(connection.data_to_send())
        self.assertFalse(self.refusal.done)
        connection.receive_data(settings)
        connection.ping(b"12345678")
        self.ask(connection)
        self.read(connection, self.refusal.receive(connection.data_to_send()))

    def test_two_requests(self) -> None:
        """The first is answered, and the GOAWAY says so of the second."""
        connection = client()
        self.ask(connection)
        self.ask(connection)
        self.read(connection, self.refusal.receive(connection.data_to_send()))

    @given(st.lists(st.integers(0, 400), max_size=12))
    def test_any_cuts(self, cuts: list[int]) -> None:
        self.refusal = Http2Refusal(505, TEXT)
        connection = client()
        connection.increment_flow_control_window(2**20)
        self.ask(connection, cookie="a" * 200)
        data = connection.data_to_send()
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        output = b"".join(self.refusal.receive(data[start:end]) for start, end in pairwise(places))
        self.read(connection, output)

    def test_nothing_but_the_preface(self) -> None:
        self.assertEqual(self.refusal.receive(CLIENT_PREFACE[:-1]), b"")
        connection = client()
        connection.receive_data(self.refusal.receive(CLIENT_PREFACE[-1:]))
        self.assertFalse(self.refusal.done)

    def test_no_request(self) -> None:
        """Not within the limit, in few frames or in many."""
        for size, count in [(16384, MAX_BEFORE // 16384), (100, MAX_BEFORE // 109), (2**24 - 1, 0)]:
            refusal = Http2Refusal(505, TEXT)
            refusal.receive(CLIENT_PREFACE)
            for _ in range(count):
                last = refusal.receive(frame(6, bytes(size)))
                if refusal.done:
                    break
            self.assertEqual(refusal.done, size == 16384)
            if not refusal.done:
                last = refusal.receive((2**24 - 1).to_bytes(3) + bytes(6))
            self.assertTrue(refusal.done)
            self.assertIn(TEXT, last)

    @given(st.binary(max_size=200))
    def test_anything(self, data: bytes) -> None:
        refusal = Http2Refusal(505, TEXT)
        refusal.receive(CLIENT_PREFACE)
        refusal.receive(data)

    def test_afterwards(self) -> None:
        """Nothing more is said."""
        connection = client()
        self.ask(connection)
        self.refusal.receive(connection.data_to_send())
        self.ask(connection)
        self.assertEqual(self.refusal.receive(connection.data_to_send()), b"")
