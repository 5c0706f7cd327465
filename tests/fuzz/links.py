"""Fuzz targets for what runs on a link: relay messages, smux, datagrams, frames of a WebSocket."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import attrs
from websockets.frames import DATA_OPCODES, Opcode
from websockets.protocol import OPEN, Protocol, Side

from rtunnel.wire.control import KINDS, MAX_LINE, ControlError, ControlReader, Message, encode
from rtunnel.wire.datagram import DatagramReader, frame_datagram
from rtunnel.wire.relay import MAX_MESSAGE, RelayError, take_preface, take_request, take_response
from rtunnel.wire.relay_intercepts import InterceptAnswer, InterceptRequest
from rtunnel.wire.smux import DATA, OPENED, Event, Session, SmuxError
from rtunnel.wire.websocket import CONTROL, FAILED, PAYLOAD, FrameCodec
from tests.fuzz.target import Target, cuts

__all__ = ["TARGETS"]


# -- relay messages


def relay(data: bytes) -> None:
    """A message or a RelayError; decided once, whatever follows; written and read again, it is the same."""
    for take in (take_request, take_response, take_preface):
        check_relay(take, data)
    assert outcome(take_preface, data) == outcome(take_response, data), "the fast path reads something else"


def check_relay(take: Callable[[bytes], Any], data: bytes) -> None:
    found = outcome(take, data)
    decided = None
    for end in range(min(len(data), 64) + 1):
        early = outcome(take, data[:end])
        if decided is not None:
            assert isinstance(early, str) is isinstance(decided, str), "what follows a message changes what it is"
        decided = decided if decided is not None else early
    if decided is not None:
        assert isinstance(found, str) is isinstance(decided, str), "what follows a message changes what it is"
    if found is None or isinstance(found, str):
        assert found is not None or len(data) < MAX_MESSAGE, "more is awaited than a message can have"
        return
    message, end = found
    assert end <= len(data)
    for kind in (InterceptRequest, InterceptAnswer):
        with suppress(RelayError):
            asked = kind.of(message.metadata)
            assert asked is None or kind.of(asked.metadata()) == asked
    written = message.encode()
    again, size = take(written)
    assert size == len(written)
    assert again.encode() == written, "a message does not stay what it is when it is passed on"


def outcome(take: Callable[[bytes], Any], data: bytes) -> Any:
    """A message, None, or an error as text."""
    try:
        return take(data)
    except RelayError as error:
        assert error.reason.isascii()
        return error.reason


# -- control messages


def control(data: bytes) -> None:
    """Messages or a ControlError; the same however the bytes are cut; every text is one short line, and stays as it is."""
    messages, error = converse([data])
    for pieces in cuts(data):
        assert converse(pieces)[1] == error
        if error is None:
            assert converse(pieces)[0] == messages
    for message in messages:
        for value in attrs.astuple(message):
            if isinstance(value, str):
                assert value.isprintable() and len(value) <= 1000, value
        line = encode(message)
        assert line.count(b"\n") == 1 and len(line) <= MAX_LINE + 1
        assert converse([line]) == ([message], None), "a message does not stay what it is when it is passed on"


def converse(pieces: Iterable[bytes]) -> tuple[list[Message], str | None]:
    """What is read of the bytes: messages, and the error that ended it."""
    reader, messages = ControlReader(), []
    try:
        for piece in pieces:
            messages += reader.receive(piece)
    except ControlError as error:
        return messages, str(error)
    return messages, None


# -- smux


def smux(data: bytes) -> None:
    """Events or a SmuxError; the same however the bytes are cut; answers are bounded by what is received."""
    for version in (1, 2):
        for opens in (True, False):
            whole, error, output = hear(session(version, opens), [data])
            for pieces in cuts(data):
                events, other, replies = hear(session(version, opens), pieces)
                assert other == error
                if error is None:
                    assert events == whole
                    assert replies == output


def session(version: int, opens: bool) -> Session:
    """A session with streams of its own that have sent something, if it opens them."""
    made = Session(opens=opens, version=version, window=1024, max_streams=4)
    if opens:
        for _ in range(3):
            made.send(made.open(), bytes(20))
    made.take_output()
    return made


def hear(ours: Session, pieces: Iterable[bytes]) -> tuple[list[Event], str | None, bytes]:
    """What a session makes of the bytes: events, the error that ended it, and its replies."""
    events: list[Event] = []
    received = opened = 0
    error = None
    try:
        for piece in pieces:
            received += len(piece)
            for kind, stream, payload in ours.receive(piece):
                opened += kind == OPENED
                before = events.pop()[2] if kind == DATA and events and events[-1][:2] == (kind, stream) else b""
                events.append((kind, stream, before + payload))
    except SmuxError as found:
        error = str(found)
    assert error or ours.streams <= 3 + min(opened, 4)
    assert sum(len(payload) for kind, _, payload in events if kind == DATA) <= received
    output = ours.take_output()
    assert len(output) <= 3 * received + 64, "replies are not bounded by what is received"
    return events, error, output


# -- datagrams


def datagrams(data: bytes) -> None:
    """Nothing is invalid; the same however the bytes are cut; written again, the same bytes."""
    reader = DatagramReader()
    found = reader.receive(data)
    assert b"".join(map(frame_datagram, found)) == data[: len(data) - reader.waiting]
    for pieces in cuts(data):
        other = DatagramReader()
        assert [datagram for piece in pieces for datagram in other.receive(piece)] == found
        assert other.waiting == reader.waiting <= 65536


# -- frames of a WebSocket


def mask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[index & 3] for index, byte in enumerate(payload))


def websocket(data: bytes) -> None:
    """The same however the bytes are cut, and what the websockets package finds in them."""
    for client in (False, True):
        payload, control, failure = unframe(client, [data])
        for pieces in cuts(data):
            assert unframe(client, pieces) == (payload, control, failure)
        compare(client, data, payload, control, failure)
        own = FrameCodec(client=client, mask=mask, random=random.Random(0).randbytes)
        assert unframe(not client, [own.encode(data)]) == (data, [], None)


def unframe(client: bool, pieces: Iterable[bytes]) -> tuple[bytes, list[bytes], str | None]:
    codec = FrameCodec(client=client, mask=mask, random=bytes)
    payload, control, failure = b"", [], None
    for piece in pieces:
        for kind, value in codec.receive(piece):
            assert failure is None, "an event after the end"
            if kind == PAYLOAD:
                payload += value
            elif kind == CONTROL:
                control.append(value)
            elif kind == FAILED:
                failure = value[2:].decode()
    return payload, control, failure


def compare(client: bool, data: bytes, payload: bytes, control: list[bytes], failure: str | None) -> None:
    """Compare with an independent implementation, which passes on whole frames only."""
    theirs = Protocol(Side.CLIENT if client else Side.SERVER, state=OPEN, max_size=None)
    theirs.receive_data(data)
    frames = theirs.events_received()
    binary = b"".join(frame.data for frame in frames if frame.opcode in DATA_OPCODES)  # type: ignore[union-attr]
    others = [frame for frame in frames if frame.opcode not in DATA_OPCODES]  # type: ignore[union-attr]
    if theirs.parser_exc is not None and failure is None:
        # the library that gets the control frames verifies what is in a close frame
        assert control and control[-1][0] & 15 == Opcode.CLOSE, theirs.parser_exc
        return
    if failure is None:
        assert theirs.parser_exc is None
        assert payload.startswith(binary)
        assert len(control) == len(others)
    else:
        # the other one accepts text and lengths that are longer than necessary, and refuses a frame when all of it is there
        assert payload.startswith(binary) or binary.startswith(payload)


TARGETS = (
    Target(
        "relay",
        relay,
        ("rtunnel.wire.relay", "rtunnel.wire.relay_features", "rtunnel.wire.relay_intercepts"),
        (b"\x01\x02\x00", b"\x02\x00\x07\x01", b"\x03\x00\x14"),
    ),
    Target(
        "control",
        control,
        ("rtunnel.wire.control",),
        [f'"{kind}"'.encode() for kind in KINDS]
        + [b'{"kind":', b'"name":', b'"left":', b"}\n", b"\n", b"\\ud800", b"1e99", b"true"],
    ),
    Target(
        "smux",
        smux,
        ("rtunnel.wire.smux",),
        [bytes((version, command)) for version in (1, 2) for command in range(5)]
        + [bytes((stream, 0, 0, 0)) for stream in range(8)]
        + [b"\x08\x00", b"\x01\x00\x00\x80", b"\x02\x00\x00\x80", b"\x00\x00\x00\x80", b"\x00\x10"],
        8192,
    ),
    Target("datagrams", datagrams, ("rtunnel.wire.datagram",)),
    Target(
        "websocket",
        websocket,
        ("rtunnel.wire.websocket",),
        [b"\x82", b"\x02", b"\x00", b"\x80", b"\x88\x02", b"\x89", b"\xfe", b"\x7f", b"\xff"],
    ),
)
