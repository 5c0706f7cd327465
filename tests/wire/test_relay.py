"""Relay messages: what a real gost sent, every kind of nonsense, and round trips."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from struct import unpack_from
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.relay import (
    MAX_MESSAGE,
    Command,
    Network,
    RelayAddress,
    RelayError,
    Request,
    Response,
    Status,
    TunnelFeature,
    endpoint_host,
    stream_preface,
    take_preface,
    take_request,
    take_response,
)
from tests.support.vectors import CLIENT, SERVER, Conversation, conversations, names

NGINX = UUID("10bc451e-59dc-4c70-999e-91a30813ac78")
PRIVATE = UUID("2f1c1d2e-0000-4a5b-8c9d-0123456789ab")
ANY = RelayAddress("0.0.0.0", 0)


def local(port: int) -> RelayAddress:
    return RelayAddress("127.0.0.1", port)


def recorded() -> Iterator[tuple[str, Conversation]]:
    for name in names():
        for conversation in conversations(name):
            yield f"{name}, connection {conversation.conn}", conversation


def prefaces(conversation: Conversation) -> Iterator[bytes]:
    """The first data frame of each stream that the server opened."""
    data = conversation.sent_by(SERVER)
    position = 4 + unpack_from(">H", data, 2)[0]
    seen = set()
    while position < len(data):
        _, command, length, stream = unpack_from("<BBHI", data, position)
        if command == 2 and stream not in seen:
            seen.add(stream)
            yield data[position + 8 : position + 8 + length]
        position += 8 + length


class RecordedTests(SynchronousTestCase):
    """The messages that gost 3.3.0 sent, read and written again."""

    def test_requests_come_out_as_they_were(self) -> None:
        for name, conversation in recorded():
            sent = conversation.sent_by(CLIENT)
            taken = take_request(sent)
            assert taken is not None, name
            request, used = taken
            self.assertEqual(request.encode(), sent[:used], name)

    def test_responses_come_out_as_they_were(self) -> None:
        for name, conversation in recorded():
            sent = conversation.sent_by(SERVER)
            taken = take_response(sent)
            assert taken is not None, name
            response, used = taken
            self.assertEqual(response.encode(), sent[:used], name)

    def test_prefaces_come_out_as_they_were(self) -> None:
        count = 0
        for name, conversation in recorded():
            if conversation.sent_by(CLIENT)[1] & 0x0F != Command.BIND:
                continue
            for preface in prefaces(conversation):
                taken = take_preface(preface)
                assert taken is not None, name
                response, used = taken
                self.assertEqual(used, len(preface), name)
                self.assertEqual(taken, take_response(preface), name)
                self.assertEqual(stream_preface(*response.addresses), preface, name)
                self.assertEqual(response.encode(), preface, name)
                count += 1
        self.assertEqual(count, 12)

    def test_byte_by_byte(self) -> None:
        for name, conversation in recorded():
            for sender, take in ((CLIENT, take_request), (SERVER, take_response)):
                sent = conversation.sent_by(sender)
                whole = take(sent)
                assert whole is not None, name
                for length in range(whole[1]):
                    self.assertIsNone(take(sent[:length]), name)
                self.assertEqual(take(sent[: whole[1]]), whole, name)

    def said(self, name: str, conn: int = 1) -> tuple[Request, Response]:
        """What was asked and answered on one connection of a recording."""
        conversation = conversations(name)[conn - 1]
        request, response = take_request(conversation.sent_by(CLIENT)), take_response(conversation.sent_by(SERVER))
        assert request is not None and response is not None
        return request[0], response[0]

    def test_bind(self) -> None:
        for name, port in (("bind-http-tcp", 49776), ("bind-http-ws", 49792)):
            request, response = self.said(name)
            expected = Request(Command.BIND, addresses=(local(port), ANY), tunnel=TunnelFeature(NGINX, weight=7))
            self.assertEqual(request, expected)
            self.assertEqual(response.status, Status.OK)
            self.assertEqual(response.addresses, (RelayAddress(endpoint_host(NGINX), 0),))
            assert response.tunnel is not None
            self.assertEqual(response.tunnel.weight, 7)

    def test_credentials(self) -> None:
        request, response = self.said("auth-ok")
        self.assertEqual(request.credentials, ("user", "secret"))
        self.assertEqual(response.status, Status.OK)
        request, response = self.said("auth-refused")
        self.assertEqual(request.credentials, ("user", "wrong"))
        self.assertEqual(response, Response(Status.UNAUTHORIZED))

    def test_udp(self) -> None:
        request, response = self.said("private-udp-visitor")
        self.assertEqual((request.command, request.network), (Command.BIND, Network.UDP))
        assert response.tunnel is not None
        self.assertTrue(response.tunnel.udp)
        request, response = self.said("private-udp-visitor", conn=2)
        self.assertEqual((request.command, request.network), (Command.CONNECT, Network.UDP))
        self.assertEqual(response, Response(Status.OK))

    def test_connect(self) -> None:
        request, response = self.said("private-tcp-visitor", conn=2)
        destination = RelayAddress("ssh.local", 0)
        expected = Request(Command.CONNECT, addresses=(local(53192), destination), tunnel=TunnelFeature(PRIVATE))
        self.assertEqual(request, expected)
        self.assertEqual(response, Response(Status.OK))

    def test_refused(self) -> None:
        self.assertEqual(self.said("visitor-wrong-id")[1], Response(Status.HOST_UNREACHABLE))
        self.assertEqual(self.said("visitor-no-connector")[1], Response(Status.SERVICE_UNAVAILABLE))

    def test_endpoint_host(self) -> None:
        self.assertEqual(endpoint_host(NGINX), "6ffa35ed91e34471")
        self.assertEqual(endpoint_host(PRIVATE), "c2ed09f5eba09441")


def message(*features: bytes, code: int = Command.BIND, version: int = 1) -> bytes:
    data = b"".join(features)
    return bytes((version, code)) + len(data).to_bytes(2, "big") + data


def feature(kind: int, data: bytes) -> bytes:
    return bytes((kind,)) + len(data).to_bytes(2, "big") + data


def host(data: bytes, kind: int = 3) -> bytes:
    return feature(2, bytes((kind,)) + data + b"\x00\x50")


def metadata(*pairs: tuple[bytes, bytes], count: int | None = None) -> bytes:
    texts = b"".join(len(text).to_bytes(2, "big") + text for pair in pairs for text in pair)
    return feature(5, (len(pairs) if count is None else count).to_bytes(2, "big") + texts)


SOURCE = host(b"\x7f\x00\x00\x01", kind=1)
TUNNEL = feature(3, NGINX.bytes + b"\x00\x00\x00\x07")


class StrictTests(SynchronousTestCase):
    """What is refused, what is skipped, and when."""

    def refused(self, data: bytes, reason: str) -> None:
        for take in (take_request, take_response):
            error = self.assertRaises(RelayError, take, data)
            self.assertIn(reason, error.reason)
            self.assertEqual(error.status, Status.BAD_REQUEST)
            self.assertEqual(str(error), error.reason)

    def test_version(self) -> None:
        self.refused(message(version=2), "version")
        self.refused(b"\x00", "version")

    def test_command(self) -> None:
        # 0x12: a flag that nobody defined
        for code in (0x00, 0x07, 0x12, 0x42, 0x80, 0x8F, 0xFF):
            error = self.assertRaises(RelayError, take_request, bytes((1, code)))
            self.assertIn("command", error.reason)

    def test_status(self) -> None:
        error = self.assertRaises(RelayError, take_response, b"\x01\x09")
        self.assertIn("status", error.reason)
        error = self.assertRaises(RelayError, take_preface, b"\x01\xff\x00\x00")
        self.assertIn("status", error.reason)

    def test_truncated_features(self) -> None:
        self.refused(message(b"\x02"), "header of a feature")
        self.refused(message(b"\x02\x00"), "header of a feature")
        self.refused(message(SOURCE, b"\x02\x00\x08\x01\x7f"), "size of feature")
        self.refused(message(b"\x77\x00\x01"), "size of feature")

    def test_features_after_the_message_are_not_its_own(self) -> None:
        taken = take_request(message(SOURCE) + TUNNEL)
        assert taken is not None
        self.assertIsNone(taken[0].tunnel)
        self.assertEqual(taken[1], 4 + len(SOURCE))

    def test_addresses(self) -> None:
        self.refused(message(feature(2, b"")), "type of address")
        self.refused(message(host(b"\x7f\x00\x00\x01", kind=2)), "type of address")
        self.refused(message(host(b"\x7f\x00\x00", kind=1)), "IPv4")
        self.refused(message(host(b"\x7f\x00\x00\x01\x00", kind=1)), "IPv4")
        self.refused(message(feature(2, b"\x01")), "IPv4")
        self.refused(message(host(bytes(15), kind=4)), "IPv6")
        self.refused(message(feature(2, b"\x03\x00\x50")), "host name")
        self.refused(message(host(b"\x05nginx.local")), "host name")
        self.refused(message(host(b"\x20nginx.local")), "host name")
        self.refused(message(host(b"\x02\xc3\x28")), "UTF-8")
        self.refused(message(host(b"\x04a\r\nb")), "control characters")
        self.refused(message(host(b"\x03a b")), "control characters")
        self.refused(message(SOURCE, SOURCE, SOURCE), "more than two addresses")

    def test_tunnel(self) -> None:
        self.refused(message(feature(3, NGINX.bytes)), "tunnel id")
        self.refused(message(feature(3, NGINX.bytes + bytes(5))), "tunnel id")
        self.refused(message(TUNNEL, TUNNEL), "twice")

    def test_network(self) -> None:
        self.refused(message(feature(4, b"\x00")), "network")
        self.refused(message(feature(4, b"\x00\x03")), "unknown network")
        self.refused(message(feature(4, b"\x00\x00"), feature(4, b"\x00\x00")), "twice")

    def test_credentials(self) -> None:
        good = feature(1, b"\x01u\x01p")
        self.refused(message(good, good), "twice")
        self.refused(message(feature(1, b"")), "user name")
        self.refused(message(feature(1, b"\x04use")), "user name")
        self.refused(message(feature(1, b"\x01u")), "password")
        self.refused(message(feature(1, b"\x01u\x02p")), "password")
        self.refused(message(feature(1, b"\x01u\x01pp")), "credentials")
        self.refused(message(feature(1, b"\x01\xff\x01p")), "UTF-8")

    def test_metadata(self) -> None:
        self.refused(message(feature(5, b"")), "metadata")
        self.refused(message(feature(5, b"\x00")), "metadata")
        self.refused(message(metadata((b"k", b"v"), count=2)), "key")
        self.refused(message(metadata((b"k", b"v"), count=0)), "metadata")
        self.refused(message(metadata((b"k", b"v"), (b"k", b"w"))), "twice")
        self.refused(message(metadata((b"k" * 256, b"v"))), "key")
        self.refused(message(metadata((b"k", b"v" * 256))), "value")
        self.refused(message(metadata((b"\xff", b"v"))), "UTF-8")
        self.refused(message(metadata(*((b"%d" % number, b"") for number in range(21)))), "too much")
        self.refused(message(metadata(), metadata()), "twice")

    def test_unknown_features_are_skipped(self) -> None:
        taken = take_request(message(feature(0, b""), SOURCE, feature(200, b"what is this?"), TUNNEL, feature(6, bytes(9))))
        assert taken is not None
        self.assertEqual(taken[0], Request(Command.BIND, addresses=(local(80),), tunnel=TunnelFeature(NGINX, weight=7)))

    def test_reserved_bits_are_ignored(self) -> None:
        taken = take_request(message(feature(3, NGINX.bytes + b"\xff\x12\x34\x00")))
        assert taken is not None
        self.assertEqual(taken[0].tunnel, TunnelFeature(NGINX, weight=0, private=True, udp=True))

    def test_either_form_says_udp(self) -> None:
        for data in (message(code=0x82), message(feature(4, b"\x00\x01")), message(feature(4, b"\x00\x00"), code=0x82)):
            taken = take_request(data)
            assert taken is not None
            self.assertEqual((taken[0].command, taken[0].network), (Command.BIND, Network.UDP))

    def test_longest_message(self) -> None:
        # nothing but features that nobody knows, up to the last byte
        data = message(feature(99, bytes(65532)))
        self.assertEqual(len(data), MAX_MESSAGE)
        self.assertEqual(take_request(data), (Request(Command.BIND), MAX_MESSAGE))
        self.assertIsNone(take_request(data[:-1]))

    def test_preface_is_a_strict_response(self) -> None:
        good = stream_preface(local(4711), RelayAddress("nginx.local", 80))
        for wrong in (good[:-1] + b"", good[:18] + b"\x09" + good[19:], good[:17] + b"\x02" + good[18:]):
            try:
                expected = take_response(wrong)
            except RelayError:
                self.assertRaises(RelayError, take_preface, wrong)
            else:
                self.assertEqual(take_preface(wrong), expected)


class EncodeTests(SynchronousTestCase):
    """What cannot be said, and what is never shown."""

    def wrong(self, **said: object) -> None:
        self.assertRaises(ValueError, Request(Command.BIND, **said).encode)  # type: ignore[arg-type]

    def test_what_does_not_fit(self) -> None:
        self.wrong(addresses=(RelayAddress("n" * 256, 80),))
        self.wrong(addresses=(RelayAddress("nginx.local", 65536),))
        self.wrong(addresses=(RelayAddress("nginx.local", -1),))
        self.wrong(addresses=(RelayAddress("nginx local", 80),))
        self.wrong(addresses=(RelayAddress("nginx\nlocal", 80),))
        self.wrong(addresses=(ANY, ANY, ANY))
        self.wrong(tunnel=TunnelFeature(NGINX, weight=256))
        self.wrong(tunnel=TunnelFeature(NGINX, weight=-1))
        self.wrong(credentials=("u" * 256, ""))
        self.wrong(metadata={str(number): "" for number in range(21)})
        self.wrong(metadata={"k": "\N{SNOWMAN}" * 86})

    def test_the_most_that_fits(self) -> None:
        request = Request(
            Command.BIND,
            Network.UDP,
            credentials=("u" * 255, "p" * 255),
            addresses=(RelayAddress("n" * 255, 65535), RelayAddress("::", 0)),
            tunnel=TunnelFeature(NGINX, weight=255, private=True, udp=True),
            metadata={f"{number:0255}": "v" * 255 for number in range(20)},
        )
        data = request.encode()
        self.assertEqual(take_request(data), (request, len(data)))

    def test_types_of_addresses(self) -> None:
        for text, kind, back in (
            ("127.0.0.1", 1, "127.0.0.1"),
            ("::1", 4, "::1"),
            ("2001:DB8:0::1", 4, "2001:db8::1"),
            ("::ffff:192.0.2.1", 1, "192.0.2.1"),
            ("fe80::1%eth0", 3, "fe80::1%eth0"),
            ("127.0.0.01", 3, "127.0.0.01"),
            ("nginx.local", 3, "nginx.local"),
            ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", 3, "b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example"),
            ("", 3, ""),
        ):
            data = Response(Status.OK, (RelayAddress(text, 80),)).encode()
            self.assertEqual(data[7], kind, text)
            taken = take_response(data)
            assert taken is not None
            self.assertEqual(taken[0].addresses, (RelayAddress(back, 80),))

    def test_a_wrapped_ipv4_address_is_read_as_one(self) -> None:
        taken = take_response(message(host(bytes(10) + b"\xff\xff\xc0\x00\x02\x01", kind=4), code=0))
        assert taken is not None
        self.assertEqual(taken[0].addresses, (RelayAddress("192.0.2.1", 80),))

    def test_credentials_are_not_shown(self) -> None:
        request = Request(Command.BIND, credentials=("user", "secret"))
        self.assertNotIn("secret", repr(request))
        self.assertNotIn("user", repr(request))

    def test_words(self) -> None:
        self.assertEqual(Status.SERVICE_UNAVAILABLE.description, "service unavailable")


def texts(most: int) -> st.SearchStrategy[str]:
    """Texts of at most so many bytes."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=most).filter(lambda text: len(text.encode()) <= most)


names_of_hosts = st.from_regex(r"[a-z0-9_-]{1,20}(\.[a-z]{1,20}){0,3}", fullmatch=True)
# the way back must be the same text, so: in the form that reading gives
ipv6_addresses = st.integers(0, 2**128 - 1).map(IPv6Address).map(lambda address: str(address.ipv4_mapped or address))
hosts = st.one_of(names_of_hosts, st.ip_addresses(v=4).map(str), ipv6_addresses, st.just(""))
addresses = st.builds(RelayAddress, hosts, st.integers(0, 65535))
tunnels = st.builds(TunnelFeature, st.uuids(), st.integers(0, 255), st.booleans(), st.booleans())
pairs = st.dictionaries(texts(40), texts(40), max_size=5)
two = st.lists(addresses, max_size=2).map(tuple)
requests = st.builds(
    Request,
    st.sampled_from(Command),
    st.sampled_from(Network),
    st.none() | st.tuples(texts(40), texts(40)),
    two,
    st.none() | tunnels,
    pairs,
)
responses = st.builds(Response, st.sampled_from(Status), two, st.none() | tunnels, pairs)
damages = st.lists(st.tuples(st.integers(min_value=0), st.integers(0, 255)), max_size=4)


def damaged(data: bytes, damage: list[tuple[int, int]], cut: int) -> bytes:
    """Some bytes replaced, and the end cut off."""
    broken = bytearray(data)
    for position, value in damage:
        broken[position % len(broken)] = value
    return bytes(broken[: len(broken) - cut % len(broken)])


class PropertyTests(SynchronousTestCase):
    """Any message survives the way there and back, and no bytes raise anything but RelayError."""

    @settings(deadline=None, max_examples=100)
    @given(requests, st.binary(max_size=20))
    def test_requests(self, request: Request, rest: bytes) -> None:
        data = request.encode()
        self.assertEqual(take_request(data + rest), (request, len(data)))

    @settings(deadline=None, max_examples=100)
    @given(responses, st.binary(max_size=20))
    def test_responses(self, response: Response, rest: bytes) -> None:
        data = response.encode()
        self.assertEqual(take_response(data + rest), (response, len(data)))
        self.assertEqual(take_preface(data + rest), (response, len(data)))

    @settings(deadline=None, max_examples=100)
    @given(addresses, addresses, st.binary(max_size=20))
    def test_prefaces(self, source: RelayAddress, destination: RelayAddress, rest: bytes) -> None:
        data = stream_preface(source, destination)
        expected = Response(Status.OK, (source, destination))
        self.assertEqual(data, expected.encode())
        self.assertEqual(take_preface(data + rest), (expected, len(data)))

    @settings(deadline=None, max_examples=25)
    @given(requests)
    def test_no_beginning_is_whole(self, request: Request) -> None:
        data = request.encode()
        for length in range(len(data)):
            self.assertIsNone(take_request(data[:length]))

    def survives(self, data: bytes) -> None:
        for take in (take_request, take_response):
            try:
                taken = take(data)
            except RelayError:
                continue
            if taken is not None:
                self.assertLessEqual(taken[1], len(data))
                taken[0].encode()

    def same(self, data: bytes) -> None:
        """The fast way and the plain one agree."""
        try:
            expected = take_response(data)
        except RelayError:
            self.assertRaises(RelayError, take_preface, data)
        else:
            self.assertEqual(take_preface(data), expected)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=400))
    def test_random_bytes(self, data: bytes) -> None:
        self.survives(data)
        self.survives(message(data))
        self.survives(message(data, code=0))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.builds(feature, st.integers(0, 6), st.binary(max_size=40)), max_size=6))
    def test_random_features(self, features: list[bytes]) -> None:
        self.survives(message(*features))
        self.same(message(*features, code=0))

    @settings(deadline=None, max_examples=200)
    @given(st.one_of(requests, responses), damages, st.integers(min_value=0))
    def test_damaged_messages(self, whole: Request | Response, damage: list[tuple[int, int]], cut: int) -> None:
        self.survives(damaged(whole.encode(), damage, cut))

    @settings(deadline=None, max_examples=200)
    @given(addresses, addresses, damages, st.integers(0, 3))
    def test_damaged_prefaces(
        self, source: RelayAddress, destination: RelayAddress, damage: list[tuple[int, int]], cut: int
    ) -> None:
        self.same(damaged(stream_preface(source, destination), damage, cut))
