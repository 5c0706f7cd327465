"""ClientHellos: those of a real TLS library, those that a test puts together, cut in every way, and every kind of nonsense."""

from __future__ import annotations

import ssl
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.clienthello import (
    MAX_HELLO,
    MAX_RECORD,
    Alert,
    ClientHello,
    ClientHelloError,
    ClientHelloReader,
    alert_record,
)
from tests.support.hellos import client, extension, hello, record, records, server_name, vector


def read(*pieces: bytes) -> ClientHello | None:
    """Feed pieces; nothing may come out before the last one."""
    reader = ClientHelloReader()
    for piece in pieces[:-1]:
        assert reader.feed(piece) is None
    return reader.feed(pieces[-1])


NAMED = hello(extension(0x0A0A), server_name(b"a.pod.local"), extension(0x1A1A, b"\0"))


class RealTests(SynchronousTestCase):
    """The hellos of OpenSSL, and what it makes of our alerts."""

    def test_versions(self) -> None:
        for low, high in (
            (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
            (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
            (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
        ):
            *_, data = client("Pod.Local", minimum_version=low, maximum_version=high)
            self.assertEqual(read(data), ClientHello("pod.local"))

    def test_no_name(self) -> None:
        *_, data = client(None)
        self.assertEqual(read(data), ClientHello(None))
        # an address is none (RFC 6066 section 3)
        *_, data = client("192.0.2.1")
        self.assertEqual(read(data), ClientHello(None))

    def test_byte_by_byte(self) -> None:
        *_, data = client("pod.local")
        self.assertEqual(read(*(data[position : position + 1] for position in range(len(data)))), ClientHello("pod.local"))

    def test_cut_at_every_byte(self) -> None:
        *_, data = client("pod.local")
        for cut in range(1, len(data)):
            self.assertEqual(read(data[:cut], data[cut:]), ClientHello("pod.local"))

    def test_alerts_arrive(self) -> None:
        for alert, words in (
            (Alert.UNRECOGNIZED_NAME, "UNRECOGNIZED_NAME"),
            (Alert.INTERNAL_ERROR, "INTERNAL_ERROR"),
            (Alert.DECODE_ERROR, "DECODE_ERROR"),
        ):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                tls, to_client, _ = client("pod.local", minimum_version=version, maximum_version=version)
                to_client.write(alert_record(alert))
                error = self.assertRaises(ssl.SSLError, tls.do_handshake)
                self.assertIn(words, str(error.reason))


class HelloTests(SynchronousTestCase):
    """What is read, and how far."""

    def test_records(self) -> None:
        """One cut between records at each byte of the message."""
        for cut in range(1, len(NAMED)):
            self.assertEqual(read(records(NAMED, cut)), ClientHello("a.pod.local"))

    def test_a_record_for_each_byte(self) -> None:
        data = records(NAMED, *range(1, len(NAMED)))
        self.assertEqual(len(data), 6 * len(NAMED))
        self.assertEqual(read(data), ClientHello("a.pod.local"))
        self.assertEqual(read(*(data[position : position + 1] for position in range(len(data)))), ClientHello("a.pod.local"))

    def test_what_follows_is_left_alone(self) -> None:
        """Early data, of another record type, may come in the same segment."""
        for rest in (record(b"\x01", kind=20) + record(b"early", kind=23), b"\xff" * 100, bytes(2 * MAX_HELLO)):
            self.assertEqual(read(record(NAMED) + rest), ClientHello("a.pod.local"))
        self.assertEqual(read(record(NAMED + b"\x0b\0\0\0")), ClientHello("a.pod.local"))

    def test_no_extensions(self) -> None:
        self.assertEqual(read(record(hello())), ClientHello(None))
        self.assertEqual(read(record(hello(b""))), ClientHello(None))

    def test_name_outside_an_encrypted_hello(self) -> None:
        """ECH: the outer name counts; what is inside cannot be read, and is not looked at."""
        encrypted = extension(0xFE0D, b"\0\0\x01\0\x01\x2a" + vector(2, bytes(32)) + vector(2, server_name(b"inner.local") * 5))
        for extensions in ((encrypted, server_name(b"outer.local")), (server_name(b"outer.local"), encrypted)):
            self.assertEqual(read(record(hello(*extensions))), ClientHello("outer.local"))

    def test_grease(self) -> None:
        grease = [extension(0x0A0A + 0x1010 * number, bytes(number)) for number in range(16)]
        message = hello(*grease[:8], server_name(b"pod.local"), *grease[8:], suites=b"\x3a\x3a\x13\x01")
        self.assertEqual(read(record(message)), ClientHello("pod.local"))

    def test_names(self) -> None:
        for name, shown in (
            (b"pod", "pod"),
            (b"POD.Local", "pod.local"),
            (b"pod.local.", "pod.local"),
            (b"my_pod.local", "my_pod.local"),
            (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
            (b"192.0.2.1", "192.0.2.1"),
            (b"a" * 255, "a" * 255),
        ):
            self.assertEqual(read(record(hello(server_name(name)))), ClientHello(shown))

    def test_long_hello(self) -> None:
        """Up to the limit; over several records, since one cannot hold it."""
        room = MAX_HELLO - 4 * 5 - len(hello(server_name(b"pod.local"), extension(35)))
        message = hello(extension(35, bytes(room)), server_name(b"pod.local"))
        data = records(message, *range(MAX_RECORD, len(message), MAX_RECORD))
        self.assertEqual(len(data), MAX_HELLO)
        self.assertEqual(read(data), ClientHello("pod.local"))
        self.assertEqual(read(data[:-1], data[-1:]), ClientHello("pod.local"))


class RefusalTests(SynchronousTestCase):
    """What is refused, and with which alert."""

    def refused(self, data: bytes, alert: Alert, reason: str) -> None:
        """It is refused in one piece, and no later when it comes byte by byte."""
        error = self.assertRaises(ClientHelloError, read, data)
        self.assertEqual((error.alert, reason in error.reason), (alert, True), error.reason)
        reader = ClientHelloReader()

        def feed() -> None:
            for byte in data:
                self.assertIsNone(reader.feed(bytes((byte,))))

        self.assertEqual(self.assertRaises(ClientHelloError, feed).alert, alert)

    def test_records(self) -> None:
        for kind in (20, 21, 23, 0, 0x47, 0x80):
            self.refused(bytes((kind,)), Alert.UNEXPECTED_MESSAGE, "another record")
            self.refused(record(NAMED[:10]) + bytes((kind,)), Alert.UNEXPECTED_MESSAGE, "another record")
        for major in (0, 2, 4, 0xFE):
            self.refused(bytes((22, major)), Alert.PROTOCOL_VERSION, "version of the record")
        self.refused(record(b""), Alert.UNEXPECTED_MESSAGE, "empty record")
        self.refused(b"\x16\x03\x01" + (MAX_RECORD + 1).to_bytes(2, "big"), Alert.RECORD_OVERFLOW, "a record is longer")

    def test_other_messages(self) -> None:
        for kind in (0, 2, 4, 11, 254):
            self.refused(record(bytes((kind,))), Alert.UNEXPECTED_MESSAGE, "not a ClientHello")

    def test_announced_length(self) -> None:
        """A hello that will be too long is refused at its first bytes."""
        self.refused(record(b"\x01" + (MAX_HELLO - 3).to_bytes(3, "big")), Alert.ILLEGAL_PARAMETER, "longer than")
        self.assertIsNone(read(record(b"\x01" + (MAX_HELLO - 4).to_bytes(3, "big"))))

    def test_endless_records(self) -> None:
        """The limit is on all bytes, however few of them are the message."""
        message = b"\x01" + vector(3, bytes(20000))
        self.refused(records(message, *range(1, len(message))), Alert.ILLEGAL_PARAMETER, "longer than")

    def test_versions(self) -> None:
        for version in (0x0002, 0x0200, 0x0400, 0xFEFD):
            self.refused(record(hello(version=version)), Alert.PROTOCOL_VERSION, "version of the hello")

    def test_fields(self) -> None:
        for message in (
            hello(session=bytes(33)),
            hello(suites=b""),
            hello(suites=b"\x13"),
            hello(suites=b"\x13\x01\x13"),
            hello(compression=b""),
            hello(tail=b"\0"),
            hello(b"", tail=b"\0"),
            hello(b"\0"),
            hello(b"\0\x10\0"),
            hello(b"\0\x10\0\x05\0"),
            b"\x01" + vector(3, b""),
            b"\x01" + vector(3, b"\x03\x03" + bytes(31)),
        ):
            self.refused(record(message), Alert.DECODE_ERROR, "")

    def test_cut_message(self) -> None:
        """Whatever is missing at its end, it is refused, unless what is missing is all of the extensions."""
        body = hello(server_name(b"pod.local"))[4:]
        for size in range(len(body)):
            message = b"\x01" + vector(3, body[:size])
            if size == len(hello()) - 4:
                self.assertEqual(read(record(message)), ClientHello(None))
            else:
                self.refused(record(message), Alert.DECODE_ERROR, "")

    def test_extension_twice(self) -> None:
        for pair in (
            (server_name(b"a.local"), server_name(b"b.local")),
            (server_name(b"a.local"), server_name(b"a.local")),
            (extension(16), extension(16)),
        ):
            self.refused(record(hello(*pair)), Alert.ILLEGAL_PARAMETER, "twice")

    def test_lists_of_names(self) -> None:
        entry = b"\0" + vector(2, b"a.local")
        for value in (
            b"",
            vector(2, b""),
            vector(2, entry + entry),
            vector(2, entry) + b"\0",
            vector(2, entry + b"\0"),
            vector(2, entry[:-1]),
            vector(2, b"\0"),
            vector(2, b"\0" + vector(2, b"")),
            b"\0\xff" + entry,
        ):
            self.refused(record(hello(extension(0, value))), Alert.DECODE_ERROR, "")
        self.refused(record(hello(server_name(b"a.local", kind=1))), Alert.ILLEGAL_PARAMETER, "not a host name")

    def test_names(self) -> None:
        for name in (
            b".",
            b".pod.local",
            b"pod..local",
            b"pod.local..",
            b"*.local",
            b"pod local",
            b"pod.local\0",
            b"pod\0.local",
            b"pod.local:443",
            b"[::1]",
            b"::1",
            b"b\xc3\xbccher.example",
            b"pod.local\n",
            b"a" * 256,
        ):
            self.refused(record(hello(server_name(name))), Alert.ILLEGAL_PARAMETER, "not a host name")


class PropertyTests(SynchronousTestCase):
    """However it is cut; whatever it is."""

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_cuts(self, data: st.DataObject) -> None:
        """Records and segments may be cut anywhere; the name is the same."""
        stream = records(NAMED, *data.draw(st.lists(st.integers(1, len(NAMED) - 1))))
        cuts = sorted({0, *data.draw(st.lists(st.integers(1, len(stream) - 1))), len(stream)})
        pieces = [stream[start:end] for start, end in pairwise(cuts)]
        self.assertEqual(read(*pieces), ClientHello("a.pod.local"))

    @settings(deadline=None, max_examples=200)
    @given(st.integers(0, len(NAMED) - 1), st.integers(1, 255))
    def test_flipped_bytes(self, position: int, flip: int) -> None:
        """A hello with one wrong byte is read, waited for or refused; nothing else happens."""
        message = bytearray(NAMED)
        message[position] ^= flip
        try:
            read(record(bytes(message)))
        except ClientHelloError as error:
            self.assertEqual(alert_record(error.alert)[-1], error.alert)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=600), st.booleans())
    def test_anything(self, data: bytes, framed: bool) -> None:
        """In one piece or in many, the end is the same."""
        stream = record(data) if framed else data
        self.assertEqual(self.end_of([stream]), self.end_of([stream[at : at + 1] for at in range(len(stream))]))

    def end_of(self, pieces: list[bytes]) -> object:
        reader = ClientHelloReader()
        try:
            return next(filter(None, map(reader.feed, pieces)), None)
        except ClientHelloError as error:
            return error.alert
