"""Records as bytes, and back."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.registry.records import MAX_RECORD, ConnectorRecord, LeaseRecord, RecordError, ServerRecord
from tests.registry.support import TUNNEL, connector, server

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
moments = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
servers = st.builds(ServerRecord, id=st.uuids(), name=texts, address=texts, software=texts, since=moments, leaving=st.booleans())
leases = st.builds(
    LeaseRecord,
    id=texts,
    holder=texts,
    name=texts,
    reason=texts,
    what=texts,
    since=moments,
    until=moments,
    length=moments,
    used=moments,
    held_until=moments,
)
connectors = st.builds(
    ConnectorRecord,
    id=st.uuids(),
    server=st.uuids(),
    tunnel=st.uuids(),
    weight=st.integers(1, 255),
    datagrams=st.booleans(),
    name=texts,
    user=texts,
    peer=texts,
    filters=st.lists(texts, max_size=4).map(tuple),
    cacheable=st.booleans(),
    instance=st.binary(max_size=16),
    since=moments,
    avoided=st.booleans(),
    pod=st.booleans(),
    lease=st.none() | leases,
)


class RoundTripTests(SynchronousTestCase):
    @given(servers)
    def test_servers(self, record: ServerRecord) -> None:
        self.assertEqual(ServerRecord.decode(record.encode()), record)

    @given(connectors)
    def test_connectors(self, record: ConnectorRecord) -> None:
        self.assertEqual(ConnectorRecord.decode(record.encode()), record)

    def test_defaults_take_no_bytes(self) -> None:
        self.assertEqual(set(json.loads(connector(1).encode())), {"i", "s", "c"})


class CompatibilityTests(SynchronousTestCase):
    """What is in the registry is what servers of other versions read."""

    def test_server(self) -> None:
        record = ServerRecord(
            id=UUID(int=1), name="pod-1", address="10.0.0.1:8422", software="1.0", since=1700000000.5, leaving=True
        )
        self.assertEqual(
            record.encode(),
            b'{"i":"00000000-0000-0000-0000-000000000001","n":"pod-1","a":"10.0.0.1:8422","v":"1.0","t":1700000000.5,"q":true}',
        )

    def test_connector(self) -> None:
        lease = LeaseRecord(
            id="1f2e",
            holder="alice",
            name="alice@mac",
            reason="bug",
            what="header:a=b",
            since=1,
            until=2,
            length=3,
            used=4,
            held_until=5,
        )
        record = ConnectorRecord(
            id=UUID(int=1),
            server=UUID(int=2),
            tunnel=UUID(int=3),
            weight=9,
            datagrams=True,
            name="mac",
            user="alice",
            peer="10.0.0.9:1",
            filters=("header:a=b",),
            cacheable=True,
            instance=b"\x01\xff",
            since=6,
            avoided=True,
            pod=True,
            lease=lease,
        )
        self.assertEqual(
            json.loads(record.encode()),
            {
                "i": str(UUID(int=1)),
                "s": str(UUID(int=2)),
                "c": str(UUID(int=3)),
                "w": 9,
                "d": True,
                "n": "mac",
                "u": "alice",
                "p": "10.0.0.9:1",
                "f": ["header:a=b"],
                "b": True,
                "j": "01ff",
                "t": 6,
                "x": True,
                "o": True,
                "l": {
                    "i": "1f2e",
                    "h": "alice",
                    "n": "alice@mac",
                    "r": "bug",
                    "f": "header:a=b",
                    "t": 1,
                    "e": 2,
                    "l": 3,
                    "u": 4,
                    "k": 5,
                },
            },
        )

    def test_keys_of_the_next_version(self) -> None:
        fields = {**json.loads(connector(1).encode()), "new": {"some": "thing"}}
        self.assertEqual(ConnectorRecord.decode(json.dumps(fields).encode()), connector(1))


class MeaningTests(SynchronousTestCase):
    def test_holder(self) -> None:
        self.assertEqual(connector(1, user="alice", name="mac", peer="h:1").holder, "alice")
        self.assertEqual(connector(1, name="mac", peer="h:1").holder, "mac")
        self.assertEqual(connector(1, peer="h:1").holder, "h:1")

    def test_held(self) -> None:
        self.assertFalse(connector(1).held)
        self.assertFalse(connector(1, lease=LeaseRecord(id="1")).held)
        self.assertTrue(connector(1, lease=LeaseRecord(id="1", held_until=7.0)).held)


class MalformedTests(SynchronousTestCase):
    def assert_refused(self, data: bytes, words: str) -> None:
        error = self.assertRaises(RecordError, ConnectorRecord.decode, data)
        self.assertIn(words, str(error))

    def changed(self, **fields: Any) -> bytes:
        return json.dumps({**json.loads(connector(1).encode()), **fields}).encode()

    def test_no_json(self) -> None:
        self.assert_refused(b"\xff", "no JSON")
        self.assert_refused(b"{", "no JSON")
        self.assert_refused(b"[" * 60000, "no JSON")
        self.assert_refused(b"[]", "no JSON object")

    def test_size(self) -> None:
        self.assert_refused(self.changed(n="x" * MAX_RECORD), "it may have")

    def test_kinds(self) -> None:
        kinds: list[dict[str, Any]] = [{"w": "1"}, {"w": True}, {"d": 1}, {"n": None}, {"f": "a"}, {"l": []}, {"t": "now"}]
        for wrong in kinds:
            self.assert_refused(self.changed(**wrong), "wrong kind")

    def test_values(self) -> None:
        self.assert_refused(self.changed(i="1"), 'the key "i"')
        self.assert_refused(self.changed(j="x"), 'the key "j"')
        self.assert_refused(self.changed(f=[1]), 'the key "f"')
        self.assert_refused(self.changed(f=["\ud800"]), 'the key "f"')
        self.assert_refused(self.changed(n="\ud800"), 'the key "n"')
        self.assert_refused(self.changed(w=0), "out of bounds")
        self.assert_refused(self.changed(t=float("nan")), 'the key "t"')
        self.assert_refused(self.changed(t=10**400), 'the key "t"')
        self.assert_refused(self.changed(l={}), "lacks something")
        self.assert_refused(self.changed(l={"i": 1}), "wrong kind")

    def test_what_is_missing(self) -> None:
        self.assert_refused(json.dumps({"i": str(TUNNEL)}).encode(), "lacks something")

    @given(st.binary(max_size=200) | st.from_type(object).map(repr).map(str.encode))
    def test_anything(self, data: bytes) -> None:
        for record in (ServerRecord, ConnectorRecord):
            try:
                record.decode(data)
            except RecordError:
                continue
            self.assertIn(b"i", data)

    def test_a_server(self) -> None:
        self.assertRaises(RecordError, ServerRecord.decode, b"{}")
        self.assertEqual(ServerRecord.decode(server(1).encode()), server(1))
