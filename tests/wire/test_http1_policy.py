"""Field policies: which fields are passed on, dropped, taken or noted, both by the parser and by templates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import (
    PASS_ALL,
    TRUSTED,
    UNTRUSTED,
    FieldPolicy,
    HeadLimits,
    RequestHead,
    RequestReader,
    parse_request,
)
from rtunnel.wire.http1_policy import is_forwarding
from rtunnel.wire.http1_templates import LEARN_AFTER

FORWARDING = (
    b"Forwarded",
    b"X-Forwarded",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Protocol",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Scheme",
    b"X-Forwarded-Ssl",
    b"X-Forwarded-Server",
    b"X-Forwarded-Uri",
    b"X-Forwarded-Path",
    b"X-Forwarded-By",
    b"X-Forwarded-User",
    b"X-Forwarded-Client-Cert",
    b"X-Forwarded-Tls-Client-Cert",
    b"X-Forwarded-Whatever.Comes~Next",
    b"X-Original-Forwarded-For",
    b"X-Original-Forwarded-Host",
    b"X-Original-Host",
    b"X-Original-URL",
    b"X-Rewrite-URL",
    b"X-Real-IP",
    b"X-Client-IP",
    b"X-Cluster-Client-IP",
    b"X-Remote-IP",
    b"X-Remote-Addr",
    b"X-Scheme",
    b"X-Url-Scheme",
    b"True-Client-IP",
    b"Client-IP",
    b"CF-Connecting-IP",
    b"Fastly-Client-IP",
    b"Front-End-Https",
)
"""Forwarding fields, as proxies write them."""

ORDINARY = (
    b"X-Forward",
    b"X-Forwards",
    b"XX-Forwarded-For",
    b"X--Forwarded-For",
    b"X.Forwarded-For",
    b"XForwarded-For",
    b"AX-Forwarded-For",
    b"Forwarded-By-Me",
    b"Forward",
    b"Not-Forwarded",
    b"X-Forwardedness",
    b"X-Requested-With",
    b"X-Real-IPs",
    b"X-Real",
    b"X-Schema",
    b"X-Schemes",
    b"X-Client-Id",
    b"X-Client-IP-Hint",
    b"X-Original-Title",
    b"X-Original",
    b"X-Originals-Forwarded-For",
    b"X-Rewrite",
    b"Client-Id",
    b"Client-IP-Region",
    b"True-Client",
    b"CF-Connecting",
    b"CF-Ray",
    b"Fastly-Client",
    b"Front-End",
    b"From",
    b"Cookie",
    b"TE-X",
    b"Trailer",
)
"""Ordinary fields with similar names."""

POLICIES = (UNTRUSTED, TRUSTED, PASS_ALL)


def spellings(name: bytes) -> set[bytes]:
    """Spellings of a name that an application may treat as equal."""
    hyphens = [position for position, letter in enumerate(name) if letter == ord("-")]
    found = {name}
    for signs in product(b"-_", repeat=len(hyphens)):
        spelling = bytearray(name)
        for position, sign in zip(hyphens, signs, strict=True):
            spelling[position] = sign
        found.add(bytes(spelling))
    return {cased for spelling in found for cased in (spelling, spelling.lower(), spelling.upper(), spelling.swapcase())}


def request(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in (b"GET / HTTP/1.1", b"Host: a", *lines, b""))


def on_both_paths(head: bytes, policy: FieldPolicy) -> Iterator[RequestHead]:
    """The head from the parser, and from a template that was learned from it."""
    yield parse_request(head, policy)
    reader = RequestReader(HeadLimits(), policy)
    for _ in range(LEARN_AFTER):
        reader.read(head)
    found = reader.read(head)
    assert found is not None
    assert reader.parsed == LEARN_AFTER, "the last one is read by a template"
    yield found[0]


class Case(SynchronousTestCase):
    def fields(self, policy: FieldPolicy, *lines: bytes) -> bytes:
        """The fields after Host that are passed on; the same on both paths."""
        first, second = (head.fields for head in on_both_paths(request(*lines), policy))
        self.assertEqual(first, second)
        self.assertTrue(first.startswith(b"Host: a\r\n"))
        return first[9:]

    def named(self, policy: FieldPolicy, *lines: bytes) -> dict[bytes, bytes]:
        """The values of taken and noted fields; the same on both paths."""
        first, second = (dict(head.named) for head in on_both_paths(request(*lines), policy))
        self.assertEqual(first, second)
        return first


class ForwardingTests(Case):
    """Forwarding fields are accepted only from trusted proxies."""

    taken_of_trusted = frozenset({b"x-forwarded-for"})
    colliding = frozenset(
        x + name.replace(b"-", one, 1).replace(b"-", other)
        for name in (b"-forwarded-for", b"-forwarded-proto", b"-forwarded-host", b"-request-id")
        for x, one, other in ((b"x", b"_", b"-"), (b"x", b"_", b"_"))
    ) | {b"x-forwarded_for", b"x-forwarded_proto", b"x-forwarded_host", b"x-request_id"}

    def test_dropped_of_strangers(self) -> None:
        for name in FORWARDING:
            for spelling in (name, name.replace(b"-", b"_"), name.lower(), name.upper().replace(b"-", b"_", 1)):
                lines = (b"A: 1", spelling + b": 192.0.2.1", b"B: 2")
                self.assertEqual(self.fields(UNTRUSTED, *lines), b"A: 1\r\nB: 2\r\n", spelling)
                self.assertEqual(self.named(UNTRUSTED, *lines), {}, spelling)

    def test_every_spelling(self) -> None:
        """Every combination of hyphens and underscores, in upper, lower and mixed case."""
        every = sorted(spelling for name in FORWARDING for spelling in spellings(name))
        self.assertGreater(len(every), 500)
        for start in range(0, len(every), 30):
            lines = [name + b": x" for name in every[start : start + 30]]
            self.assertEqual(self.fields(UNTRUSTED, b"A: 1", *lines, b"B: 2"), b"A: 1\r\nB: 2\r\n")

    def test_wherever_they_stand(self) -> None:
        """First, last, alone, adjacent, repeated, with and without white space or a value."""
        for line in (b"X-Real-IP:", b"x_real_ip:y", b"X-Forwarded-For: \t y \t", b"FORWARDED: for=a"):
            self.assertEqual(self.fields(UNTRUSTED, line), b"")
            self.assertEqual(self.fields(UNTRUSTED, line, line), b"")
            self.assertEqual(self.fields(UNTRUSTED, line, b"A: 1", line, line, b"B: 2", line), b"A: 1\r\nB: 2\r\n")

    def test_passed_on_of_trusted_proxies(self) -> None:
        for name in FORWARDING:
            for spelling in (name, name.lower(), name.replace(b"-", b"_")):
                if spelling.lower() not in self.taken_of_trusted | self.colliding:
                    lines = (b"A: 1", spelling + b": 192.0.2.1", b"B: 2")
                    self.assertEqual(self.fields(TRUSTED, *lines), b"".join(line + b"\r\n" for line in lines))

    def test_taken_for_ours(self) -> None:
        """WSGI and CGI applications see no difference between these and the fields that the proxy writes: nobody may send them."""
        for name in self.colliding:
            for spelling in (name, name.upper(), name.title()):
                for policy in (UNTRUSTED, TRUSTED, TRUSTED.taking({b"forwarded"})):
                    lines = (b"A: 1", spelling + b": 192.0.2.1", b"B: 2")
                    self.assertEqual(self.fields(policy, *lines), b"A: 1\r\nB: 2\r\n", spelling)
                    self.assertTrue(policy.drops(name))

    def test_all_pass(self) -> None:
        for name in (*FORWARDING, *ORDINARY, b"Via", b"X-Request-ID"):
            lines = (b"A: 1", name + b": 192.0.2.1", b"B: 2")
            self.assertEqual(self.fields(PASS_ALL, *lines), b"".join(line + b"\r\n" for line in lines))
            self.assertEqual(self.named(PASS_ALL, *lines), {})

    def test_ordinary_fields_pass(self) -> None:
        for name, policy in product(ORDINARY, POLICIES):
            for spelling in (name, name.lower(), name.upper()):
                lines = (b"A: 1", spelling + b": X-Forwarded-For: 192.0.2.1", b"B: 2")
                self.assertEqual(self.fields(policy, *lines), b"".join(line + b"\r\n" for line in lines), spelling)

    def test_the_predicate(self) -> None:
        for name in FORWARDING:
            self.assertTrue(is_forwarding(name.lower()), name)
            self.assertTrue(UNTRUSTED.drops(name.lower()), name)
            self.assertFalse(TRUSTED.drops(name.lower()) or PASS_ALL.drops(name.lower()), name)
        for name in (*ORDINARY, b"Via", b"X-Request-ID"):
            self.assertFalse(is_forwarding(name.lower()), name)

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.sampled_from([(name, name in ORDINARY) for name in FORWARDING + ORDINARY]), max_size=12), st.data())
    def test_any_mixture(self, fields: list[tuple[bytes, bool]], data: st.DataObject) -> None:
        lines = [(data.draw(st.sampled_from(sorted(spellings(name)))) + b": v", passes) for name, passes in fields]
        passing = [line + b"\r\n" for line, passes in lines if passes]
        self.assertEqual(self.fields(UNTRUSTED, *(line for line, _ in lines)), b"".join(passing))


class TakenTests(Case):
    """Fields that the proxy writes itself are removed, and their values are extracted."""

    def test_of_strangers(self) -> None:
        lines = (b"Via: 1.1 a", b"A: 1", b"x-request-ID: \t7", b"X-Forwarded-For: 192.0.2.1")
        self.assertEqual(self.fields(UNTRUSTED, *lines), b"A: 1\r\n")
        self.assertEqual(self.named(UNTRUSTED, *lines), {b"via": b"1.1 a", b"x-request-id": b"7"})

    def test_of_trusted_proxies(self) -> None:
        lines = (b"VIA: 1.1 a", b"A: 1", b"X-Request-Id: 7", b"X-Forwarded-For: 192.0.2.1, 192.0.2.2", b"X-Forwarded-Proto: https")
        self.assertEqual(self.fields(TRUSTED, *lines), b"A: 1\r\nX-Forwarded-Proto: https\r\n")
        self.assertEqual(
            self.named(TRUSTED, *lines),
            {
                b"via": b"1.1 a",
                b"x-request-id": b"7",
                b"x-forwarded-for": b"192.0.2.1, 192.0.2.2",
                b"x-forwarded-proto": b"https",
            },
        )

    def test_taking(self) -> None:
        policy = TRUSTED.taking({b"forwarded"})
        lines = (b"Forwarded: for=192.0.2.1", b"A: 1", b"X-Forwarded-Host: b")
        self.assertEqual(self.fields(policy, *lines), b"A: 1\r\nX-Forwarded-Host: b\r\n")
        self.assertEqual(self.named(policy, *lines), {b"forwarded": b"for=192.0.2.1", b"x-forwarded-host": b"b"})
        self.assertEqual(policy.noted, TRUSTED.noted - {b"forwarded"})
        self.assertEqual(TRUSTED.noted & {b"forwarded"}, {b"forwarded"}, "a policy is immutable")

    def test_an_empty_value(self) -> None:
        """An empty field differs from a missing one."""
        for line in (b"Via:", b"Via:  ", b"Via: \t "):
            self.assertEqual(self.named(UNTRUSTED, line), {b"via": b""}, line)
        self.assertEqual(self.named(UNTRUSTED), {})

    def test_several_lines(self) -> None:
        """Their values are combined; such heads are never read by a template."""
        head = parse_request(request(b"Via: 1.1 a ", b"A: 1", b"via:1.1 b", b"VIA:"), UNTRUSTED)
        self.assertEqual((head.named, head.fields), ({b"via": b"1.1 a, 1.1 b"}, b"Host: a\r\nA: 1\r\n"))


class NotedTests(Case):
    """The values of noted fields are extracted, and their lines are passed on unchanged."""

    def test_noting(self) -> None:
        lines = (b"Cookie: a=b; c=d", b"A: 1", b"x-CANARY:always", b"X-Other: 2")
        for policy in POLICIES:
            noting = policy.noting([b"cookie", b"x-canary", b"x-absent"])
            self.assertEqual(self.named(noting, *lines), {b"cookie": b"a=b; c=d", b"x-canary": b"always"})
            passing = [line.replace(b":", b": ").replace(b":  ", b": ") for line in lines]
            for head in on_both_paths(request(*lines), noting):
                found = [line.replace(b":", b": ").replace(b":  ", b": ") for line in head.fields.split(b"\r\n")]
                self.assertEqual(found, [b"Host: a", *passing, b""])

    def test_field_by_field(self) -> None:
        """:meth:`RequestHead.field` returns the same for noted fields and for others."""
        lines = (b"Cookie: a=b; c=d", b"x-CANARY:always", b"X-Empty:", b"X-Other: 2")
        names = (b"cookie", b"x-canary", b"x-empty", b"x-other", b"x-absent", b"canary", b"host")
        expected = [b"a=b; c=d", b"always", b"", b"2", None, None, b"a"]
        for noted in ((), names[:3], names):
            for head in on_both_paths(request(*lines), UNTRUSTED.noting(noted)):
                self.assertEqual([head.field(name) for name in names], expected)

    def test_what_is_taken_stays_taken(self) -> None:
        policy = UNTRUSTED.noting([b"via", b"x-request-id", b"accept"])
        self.assertEqual((policy.taken, policy.noted), (UNTRUSTED.taken, {b"accept"}))
        self.assertEqual(self.fields(policy, b"Via: 1.1 a", b"Accept: b"), b"Accept: b\r\n")
        self.assertEqual(self.named(policy, b"Via: 1.1 a", b"Accept: b"), {b"via": b"1.1 a", b"accept": b"b"})

    def test_one_that_would_be_dropped(self) -> None:
        """A noted forwarding field is passed on; other forwarding fields are still dropped."""
        policy = UNTRUSTED.noting([b"x-real-ip"])
        lines = (b"X-Real-IP: 192.0.2.1", b"X_Real_IP: 192.0.2.2", b"X-Client-IP: 192.0.2.3")
        self.assertEqual(self.fields(policy, *lines), b"X-Real-IP: 192.0.2.1\r\n")
        self.assertEqual(self.named(policy, *lines), {b"x-real-ip": b"192.0.2.1"})

    def test_several_lines(self) -> None:
        head = parse_request(request(b"X-A: 1 ", b"B: 2", b"x-a:3"), PASS_ALL.noting([b"x-a"]))
        self.assertEqual(head.named, {b"x-a": b"1, 3"})
        self.assertEqual(head.fields, b"Host: a\r\nX-A: 1 \r\nB: 2\r\nx-a: 3\r\n")

    def test_what_connection_names_is_not_for_us(self) -> None:
        """Its line is removed and its value is not extracted, as it is hop-by-hop (RFC 9110 section 7.6.1)."""
        usual = request(b"X-A: 1", b"X-B: 2", b"Connection: keep-alive")
        naming = request(b"X-A: 1", b"X-B: 2", b"Connection: X-a")
        for policy in POLICIES:
            reader = RequestReader(HeadLimits(), policy.noting([b"x-a", b"x-b"]))
            for _ in range(LEARN_AFTER):
                reader.read(usual)
            self.assertEqual(self.read(reader, usual).named, {b"x-a": b"1", b"x-b": b"2"})
            self.assertEqual(reader.parsed, LEARN_AFTER)
            head = self.read(reader, naming)
            self.assertEqual(reader.parsed, LEARN_AFTER + 1, "not read by a template")
            self.assertEqual((head.named, head.fields), ({b"x-b": b"2"}, b"Host: a\r\nX-B: 2\r\n"))
            self.assertIsNone(head.field(b"x-a"))

    def test_what_connection_names_of_a_trusted_proxy(self) -> None:
        head = parse_request(request(b"X-Forwarded-Proto: https", b"X-Forwarded-For: b", b"Connection: x-forwarded-proto"), TRUSTED)
        self.assertEqual((head.named, head.fields), ({b"x-forwarded-for": b"b"}, b"Host: a\r\n"))

    def read(self, reader: RequestReader, head: bytes) -> RequestHead:
        found = reader.read(head)
        assert found is not None
        return found[0]

    def test_names_with_any_sign(self) -> None:
        """Names may begin with characters that are special in regular expressions."""
        for sign in b"!#$%&'*+-.^_`|~0az":
            name = b"%c-a" % sign
            policy = UNTRUSTED.noting([name])
            self.assertEqual(self.named(policy, name + b": 1", b"B: 2"), {name: b"1"})
            self.assertEqual(self.fields(policy, name + b": 1", b"B: 2"), name + b": 1\r\nB: 2\r\n")
            self.assertEqual(self.named(policy, b"b-a: 1"), {})

    def test_what_frames_a_message_is_written_once(self) -> None:
        """Noting a field that the proxy handles itself does not change what is passed on."""
        heads = [
            b"POST / HTTP/1.1\r\nA: b\r\nHost: a\r\nContent-Length: 05\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
            b"PUT / HTTP/1.1\r\nHOST:a\r\nTransfer-Encoding:chunked\r\nConnection: TE,Upgrade\r\nTE: trailers\r\nUpgrade:x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: keep-alive\r\nA: b\r\n\r\n",
        ]
        names = [b"host", b"content-length", b"expect", b"connection", b"transfer-encoding", b"te", b"upgrade", b"keep-alive"]
        names.append(b"proxy-authorization")
        for head in heads:
            usual = parse_request(head, UNTRUSTED)
            for noted in ([name] for name in names):
                noting = parse_request(head, UNTRUSTED.noting(noted))
                self.assertEqual(noting.lines, usual.lines, (head, noted))
                self.assertEqual(noting.field(noted[0]), usual.field(noted[0]))
                self.assertEqual(noting.body, usual.body)
        parsed, templated = on_both_paths(heads[-1], UNTRUSTED.noting(names))
        self.assertEqual((parsed.named, templated.named), ({}, {}))
        self.assertEqual((parsed.body, templated.body), (5, 5))
        lines = templated.lines.replace(b"Connection: keep-alive\r\n", b"")
        self.assertEqual(sorted(lines.split(b"\r\n")), sorted(parsed.lines.split(b"\r\n")))
