"""Messages about changes."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.messages import Change, encode_change
from rtunnel.registry.records import RecordError
from tests.registry.support import connector, server, server_id


class ChangeTests(SynchronousTestCase):
    def test_all_that_there_is(self) -> None:
        data = encode_change(
            server_id(1),
            17,
            server_record=server(1).encode(),
            written=[connector(7).encode(), connector(8, name="two\nlines").encode()],
            gone=[UUID(int=9)],
        )
        self.assertEqual(data.count(b"\n"), 4)
        self.assertEqual(
            Change.decode(data),
            Change(server_id(1), 17, server(1), (connector(7), connector(8, name="two\nlines")), (UUID(int=9),)),
        )

    def test_sign_of_life(self) -> None:
        change = Change.decode(encode_change(server_id(1), 0))
        self.assertTrue(change.is_sign_of_life)
        self.assertFalse(Change(server_id(1), 1, gone=(UUID(int=9),)).is_sign_of_life)

    def test_alone(self) -> None:
        self.assertEqual(Change.decode(encode_change(server_id(1), 3) + b"\n*"), Change(server_id(1), 3, anew=True))
        self.assertEqual(Change.decode(encode_change(server_id(1), 3) + b"\n!"), Change(server_id(1), 3, stops=True))

    def test_lines_of_a_later_version(self) -> None:
        header = encode_change(server_id(1), 3)
        expected = Change(server_id(1), 3, gone=(UUID(int=9),))
        self.assertEqual(Change.decode(header + f"\n?new\n-{UUID(int=9)}\n".encode()), expected)


class MalformedTests(SynchronousTestCase):
    def assert_refused(self, data: bytes, words: str) -> None:
        self.assertIn(words, str(self.assertRaises(RecordError, Change.decode, data)))

    def test_header(self) -> None:
        for data in (b"", b"x", str(server_id(1)).encode(), f"{server_id(1)} -1".encode(), f"{server_id(1)} {'9' * 19}".encode()):
            self.assert_refused(data, "without server and number")
        self.assert_refused(b"x" * 36 + b" 1", "that is none")

    def test_lines(self) -> None:
        header = encode_change(server_id(1), 1)
        self.assert_refused(header + b"\n-1", "that is none")
        self.assert_refused(header + b"\n+{}", "lacks something")
        self.assert_refused(header + b"\n+" + connector(7, at=2).encode(), "another server")
        self.assert_refused(header + b"\n=" + server(2).encode(), "another server")

    @given(st.binary(max_size=100))
    def test_anything(self, data: bytes) -> None:
        try:
            Change.decode(encode_change(server_id(1), 1) + b"\n" + data)
            Change.decode(data)
        except RecordError:
            pass
