"""Fuzz target for the shared registry: what other servers have written, or whoever else can write there."""

from __future__ import annotations

from contextlib import suppress

from rtunnel.registry.messages import ANEW, STOPS, Change, encode_change
from rtunnel.registry.records import ConnectorRecord, RecordError, ServerRecord
from rtunnel.registry.view import View
from tests.fuzz.target import Target
from tests.registry.support import Heard, server_id

__all__ = ["TARGETS"]


def registry(data: bytes) -> None:
    """Changes, one after the other; each written again is the same, and the copy stays one of whole records."""
    heard = Heard()
    view = View(server_id(99), heard)
    for message in data.split(b"\n\n"):
        try:
            change = Change.decode(message)
        except RecordError as error:
            assert len(str(error)) < 500
            continue
        assert Change.decode(again(change)) == change, "a change does not stay what it is when it is written again"
        view.receive(change)
        if view.unread:
            reading = view.read(view.unread[0], change.number, ServerRecord(id=view.unread[0]))
            assert reading is not None
            reading.page(change.written)
            reading.over()
        assert view.connectors == sum(not record.held for record in heard.connectors.values())
    view.clear()
    assert not heard.servers and not heard.connectors
    for kind in (ServerRecord, ConnectorRecord):
        with suppress(RecordError):
            assert kind.decode(kind.decode(data).encode()) == kind.decode(data)


def again(change: Change) -> bytes:
    """A change as bytes."""
    record = b"" if change.server_record is None else change.server_record.encode()
    written = [connector.encode() for connector in change.written]
    message = encode_change(change.server, change.number, server_record=record, written=written, gone=change.gone)
    return message + (b"\n" + ANEW if change.anew else b"\n" + STOPS if change.stops else b"")


TARGETS = (
    Target(
        "registry",
        registry,
        ("rtunnel.registry.messages", "rtunnel.registry.records", "rtunnel.registry.view"),
        [
            b"\n+",
            b"\n-",
            b"\n=",
            b"\n*",
            b"\n!",
            b"\n\n",
            b'{"i":',
            b'"l":{',
            b"00000000-0000-0001-0000-000000000000",
            b"1e99",
            b"true",
            b"\\ud800",
        ],
        8192,
    ),
)
