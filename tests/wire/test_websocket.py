"""The frames of a WebSocket: the engine alone, with frames that the test makes byte by byte."""

from __future__ import annotations

import itertools
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.websocket import CONTROL, EMPTY, FAILED, KEYS, MAX_MESSAGE, PAYLOAD, Event, FrameCodec

KEY = b"\x12\x34\x56\x78"
FIN = 0x80
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def xor(data: bytes, key: bytes) -> bytes:
    """RFC 6455 5.3, word for word."""
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(data))


def frame(first: int, payload: bytes = b"", key: bytes = b"", length: int = 0) -> bytes:
    """A frame, masked when there is a key.

    :param length: how the length is encoded: 126 for two bytes, 127 for eight, 0 for the shortest.
    """
    flag = 0x80 if key else 0
    size = len(payload)
    length = length or (size if size < 126 else 126 if size < 65536 else 127)
    extended = {126: ">H", 127: ">Q"}.get(length)
    head = bytes((first, flag | length)) + (struct.pack(extended, size) if extended else b"")
    return head + key + (xor(payload, key) if key else payload)


def codec(*, client: bool = False) -> FrameCodec:
    """One end; its masking keys count."""
    numbers = itertools.count()
    return FrameCodec(
        client=client, mask=xor, random=lambda size: b"".join(struct.pack(">I", next(numbers)) for _ in range(size // 4))
    )


class EncodeTests(SynchronousTestCase):
    def test_lengths(self) -> None:
        """The shortest encoding (RFC 6455 5.2), at both ends of each."""
        for size in (0, 1, 125, 126, 65535, 65536, MAX_MESSAGE):
            payload = bytes(index & 0xFF for index in range(size))
            self.assertEqual(codec().encode(payload), frame(FIN | BINARY, payload))

    def test_masked(self) -> None:
        """Each frame of a client has a key of its own (RFC 6455 5.3); they are fetched many at a time."""
        client = codec(client=True)
        for number in range(KEYS + 2):
            self.assertEqual(client.encode(b"payload"), frame(FIN | BINARY, b"payload", struct.pack(">I", number)))

    def test_long(self) -> None:
        """No message is longer than MAX_MESSAGE."""
        self.assertEqual(
            codec().encode(bytes(2 * MAX_MESSAGE + 1)),
            frame(FIN | BINARY, bytes(MAX_MESSAGE)) * 2 + frame(FIN | BINARY, b"\0"),
        )


class ReceiveTests(SynchronousTestCase):
    """What a server makes of the bytes of a client; and the other way round, without masks."""

    chunk: int | None = None
    """How many bytes are read at once."""
    client = False

    def setUp(self) -> None:
        self.end = codec(client=self.client)
        self.key = b"" if self.client else KEY

    def frame(self, first: int, payload: bytes = b"", length: int = 0) -> bytes:
        return frame(first, payload, self.key, length)

    def receive(self, data: bytes) -> list[Event]:
        """All events; payload that belongs together in one."""
        events: list[Event] = []
        for start in range(0, len(data), self.chunk or len(data) or 1):
            for kind, found in self.end.receive(data[start : start + (self.chunk or len(data))]):
                if kind == PAYLOAD and events and events[-1][0] == PAYLOAD:
                    events[-1] = (PAYLOAD, events[-1][1] + found)
                else:
                    events.append((kind, found))
        return events

    def test_messages(self) -> None:
        sizes = (1, 2, 125, 126, 127, 65535, 65536, 70001)
        payloads = [bytes((index + size) & 0xFF for index in range(size)) for size in sizes]
        for payload in payloads:
            self.assertEqual(self.receive(self.frame(FIN | BINARY, payload)), [(PAYLOAD, payload)])
        data = b"".join(self.frame(FIN | BINARY, payload) for payload in payloads)
        self.assertEqual(self.receive(data), [(PAYLOAD, b"".join(payloads))])

    def test_empty_message(self) -> None:
        data = self.frame(FIN | BINARY, b"one") + self.frame(FIN | BINARY) + self.frame(FIN | BINARY, b"two")
        self.assertEqual(self.receive(data), [(PAYLOAD, b"one"), (EMPTY, b""), (PAYLOAD, b"two")])

    def test_fragments(self) -> None:
        """Of a message in several frames no part is empty by itself; control frames come between its parts, whole."""
        ping, pong = self.frame(FIN | PING, b"ping"), self.frame(FIN | PONG)
        data = (
            self.frame(BINARY, b"one ")
            + self.frame(CONTINUATION)
            + ping
            + self.frame(CONTINUATION, b"two ")
            + pong
            + self.frame(FIN | CONTINUATION)
            + self.frame(FIN | BINARY, b"three")
        )
        expected = [(PAYLOAD, b"one "), (CONTROL, ping), (PAYLOAD, b"two "), (CONTROL, pong), (PAYLOAD, b"three")]
        self.assertEqual(self.receive(data), expected)

    def test_longest_control_frame(self) -> None:
        ping = self.frame(FIN | PING, bytes(125))
        self.assertEqual(self.receive(ping * 2), [(CONTROL, ping)] * 2)

    def test_nothing_after_a_close_frame(self) -> None:
        """RFC 6455 5.5.1."""
        close = self.frame(FIN | CLOSE, b"\x03\xe8")
        data = self.frame(FIN | BINARY, b"last") + close + self.frame(FIN | BINARY, b"ghost") + self.frame(FIN | PING)
        self.assertEqual(self.receive(data), [(PAYLOAD, b"last"), (CONTROL, close)])
        self.assertEqual(self.receive(self.frame(FIN | BINARY, b"ghost")), [])

    def failed(self, data: bytes, code: int = 1002) -> None:
        """It is said once, after what was good; nothing more is received."""
        self.setUp()
        events = self.receive(self.frame(FIN | BINARY, b"good") + data + self.frame(FIN | BINARY, b"ghost"))
        self.assertEqual([kind for kind, _ in events], [PAYLOAD, FAILED], data[:10])
        self.assertTrue(events[0][1].startswith(b"good"))
        reason = events[1][1]
        self.assertEqual(int.from_bytes(reason[:2]), code)
        self.assertTrue(2 < len(reason) <= 125 and reason[2:].decode().isprintable(), "what fits into a close frame")
        self.assertEqual(self.receive(self.frame(FIN | BINARY, b"ghost") + self.frame(FIN | CLOSE)), [])

    def test_text(self) -> None:
        """RFC 6455 7.4.1: a type of data that is not accepted."""
        for first in (FIN | TEXT, TEXT):
            self.failed(self.frame(first, b"text"), 1003)

    def test_mask(self) -> None:
        """RFC 6455 5.1: a client masks, a server does not."""
        for first in (FIN | BINARY, FIN | PING, FIN | CLOSE):
            self.failed(frame(first, b"payload", b"" if self.key else KEY))

    def test_reserved(self) -> None:
        for bit in (0x40, 0x20, 0x10):
            self.failed(self.frame(FIN | BINARY | bit, b"data"))
            self.failed(self.frame(FIN | PING | bit, b"data"))
        for opcode in (3, 7, 11, 15):
            self.failed(self.frame(FIN | opcode, b"data"))

    def test_control_frames(self) -> None:
        """RFC 6455 5.5: at most 125 bytes, never fragmented."""
        self.failed(self.frame(FIN | PING, bytes(126)))
        for opcode in (CLOSE, PING, PONG):
            self.failed(self.frame(opcode, b"part"))

    def test_fragmentation(self) -> None:
        """RFC 6455 5.4."""
        for first in (CONTINUATION, FIN | CONTINUATION):
            self.failed(self.frame(first, b"nothing to continue"))
        for first in (BINARY, FIN | BINARY, FIN | TEXT):
            self.failed(self.frame(BINARY, b"a message") + self.frame(first, b"inside a message"))

    def test_lengths(self) -> None:
        """RFC 6455 5.2: the shortest encoding, and the most significant bit 0."""
        self.failed(self.frame(FIN | BINARY, b"data", 126))
        self.failed(self.frame(FIN | BINARY, bytes(125), 126))
        self.failed(self.frame(FIN | BINARY, b"data", 127))
        self.failed(self.frame(FIN | BINARY, bytes(65535), 127))
        self.failed(bytes((FIN | BINARY, 127 | (0x80 if self.key else 0))) + struct.pack(">Q", 1 << 63) + self.key)

    def test_no_bytes(self) -> None:
        self.assertEqual(self.end.receive(b""), [])


class ByteByByteTests(ReceiveTests):
    chunk = 1


class ClientTests(ReceiveTests):
    client = True


class ClientByteByByteTests(ClientTests):
    chunk = 1


class OddPiecesTests(ReceiveTests):
    """Pieces that are no multiple of the masking key."""

    chunk = 1023


class AsItComesTests(SynchronousTestCase):
    def test_half_a_frame(self) -> None:
        """Payload is passed on before the rest of its frame is there."""
        server = codec()
        data = frame(FIN | BINARY, bytes(range(200)), KEY)
        self.assertEqual(server.receive(data[:50]), [(PAYLOAD, bytes(range(42)))])
        self.assertEqual(server.receive(data[50:]), [(PAYLOAD, bytes(range(42, 200)))])

    def test_one_call_for_a_message(self) -> None:
        """A message that is read whole is passed on whole, and so is the next one."""
        server = codec()
        for payload in (b"one", bytes(200), bytes(70000)):
            self.assertEqual(server.receive(frame(FIN | BINARY, payload, KEY)), [(PAYLOAD, payload)])

    def test_tiny_messages(self) -> None:
        """However many come together, their bytes are one event, in their place among the others."""
        tiny = frame(FIN | BINARY, b"x", KEY) * 1000
        empty, ping = frame(FIN | BINARY, b"", KEY), frame(FIN | PING, b"", KEY)
        found = codec().receive(tiny + empty + tiny + ping + tiny + frame(FIN | BINARY, b"cut", KEY)[:-1])
        payload = (PAYLOAD, b"x" * 1000)
        self.assertEqual(found, [payload, (EMPTY, b""), payload, (CONTROL, ping), (PAYLOAD, b"x" * 1000 + b"cu")])


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data in pieces of these sizes, in turn."""
    pieces, sizes = [], itertools.cycle(cuts)
    while data:
        size = next(sizes)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


fragments = st.lists(st.tuples(st.integers(0, 300), st.sampled_from([None, None, PING, PONG])), min_size=1, max_size=4)
cuts = st.lists(st.integers(1, 200), min_size=1, max_size=6)


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.lists(st.integers(0, 70000), max_size=5), cuts, st.booleans())
    def test_what_is_encoded_is_received(self, sizes: list[int], cuts: list[int], to_server: bool) -> None:
        sender, receiver = codec(client=to_server), codec(client=not to_server)
        payloads = [bytes((index * 7 + size) & 0xFF for index in range(size)) for size in sizes]
        data = b"".join(map(sender.encode, payloads))
        events = [event for piece in cut(data, [size * 50 for size in cuts]) for event in receiver.receive(piece)]
        self.assertEqual(b"".join(found for kind, found in events if kind == PAYLOAD), b"".join(payloads))
        self.assertEqual(sum(kind == EMPTY for kind, _ in events), sizes.count(0))
        self.assertLessEqual({kind for kind, _ in events}, {PAYLOAD, EMPTY})

    @settings(deadline=None)
    @given(st.lists(st.tuples(fragments, st.binary(min_size=4, max_size=4)), max_size=6), cuts, st.booleans())
    def test_any_frames(self, messages: list[tuple[list[tuple[int, int | None]], bytes]], cuts: list[int], to_server: bool) -> None:
        wire = expected = b""
        controls = []
        for parts, random in messages:
            key = random if to_server else b""
            for index, (size, control) in enumerate(parts):
                payload = bytes((index + size + number) & 0xFF for number in range(size))
                last = FIN if index == len(parts) - 1 else 0
                wire += frame(last | (CONTINUATION if index else BINARY), payload, key)
                expected += payload
                if control is not None:
                    controls.append(frame(FIN | control, payload[:125], key))
                    wire += controls[-1]
        end = codec(client=not to_server)
        events = [event for piece in cut(wire, cuts) for event in end.receive(piece)]
        self.assertEqual(b"".join(found for kind, found in events if kind == PAYLOAD), expected)
        self.assertEqual([found for kind, found in events if kind == CONTROL], controls)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=400), st.lists(st.binary(max_size=12), max_size=12), cuts, st.booleans())
    def test_noise(self, noise: bytes, heads: list[bytes], cuts: list[int], client: bool) -> None:
        """Whatever comes, however it is cut: no exception, the same events, and nothing after the end."""
        data = noise + b"".join(heads)
        whole = codec(client=client).receive(data)
        end = codec(client=client)
        events = [event for piece in cut(data, cuts) for event in end.receive(piece)]
        for kind in (CONTROL, EMPTY, FAILED):
            self.assertEqual([found for what, found in events if what == kind], [found for what, found in whole if what == kind])
        payloads = [b"".join(found for kind, found in found if kind == PAYLOAD) for found in (events, whole)]
        self.assertEqual(payloads[0], payloads[1])
        ended = [kind == FAILED or (kind == CONTROL and found[0] & 0x0F == CLOSE) for kind, found in whole]
        self.assertNotIn(True, ended[:-1])
        if any(ended):
            self.assertEqual(end.receive(frame(FIN | BINARY, b"more", b"" if client else KEY)), [])
