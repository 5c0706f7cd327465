"""Heads at random: ours and a slow, plain reader of the same RFCs agree on every one, and whatever is written is read again.

The plain reader takes every field from a callback of httptools and every decision in the open, one after another. It shares no
code and no pattern with ours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv6Address
from typing import Any, Final, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from rtunnel.wire.http1 import (
    CHUNKED,
    PASS_ALL,
    TRUSTED,
    UNTIL_CLOSE,
    UNTRUSTED,
    FieldPolicy,
    HeadError,
    RequestHead,
    ResponseHead,
    parse_request,
    parse_response,
    write_request,
    write_response,
)

slowly = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A machine that is busy with something else is no fault of a test."""


class Plain(NamedTuple):
    """A policy in plain form: what is taken, noted, and dropped; the latter also in spellings of fields that the proxy writes."""

    taken: set[bytes]
    noted: set[bytes]
    drops: bool
    writes: bool = True

    def passes(self, name: bytes) -> bool:
        dropped = (self.drops and tells_of_the_visitor(name)) or (self.writes and collides(name))
        return name in self.noted or not (name in self.taken or dropped)


POLICIES: Final[list[tuple[FieldPolicy, Plain]]] = [
    (UNTRUSTED, Plain({b"via", b"x-request-id"}, set(), True)),
    (
        TRUSTED,
        Plain({b"via", b"x-request-id", b"x-forwarded-for"}, {b"forwarded", b"x-forwarded-proto", b"x-forwarded-host"}, False),
    ),
    (PASS_ALL, Plain(set(), set(), False, False)),
    (UNTRUSTED.noting({b"cookie", b"x-real-ip", b"via"}), Plain({b"via", b"x-request-id"}, {b"cookie", b"x-real-ip"}, True)),
    (PASS_ALL.taking({b"forwarded"}).noting({b"x-a"}), Plain({b"forwarded"}, {b"x-a"}, False, False)),
]
"""Policies, and the same in plain form."""

VISITOR_FIELDS = {
    b"forwarded",
    b"x-forwarded",
    b"x-real-ip",
    b"x-client-ip",
    b"x-scheme",
    b"true-client-ip",
    b"cf-connecting-ip",
}


def tells_of_the_visitor(name: bytes) -> bool:
    """Whether a name in this file is a forwarding field; all of them are in tests/wire/test_http1_policy.py."""
    name = name.replace(b"_", b"-")
    return name in VISITOR_FIELDS or name.startswith((b"x-forwarded-", b"x-original-forwarded-"))


def collides(name: bytes) -> bool:
    """Whether applications may read a name as one that the proxy writes, because it has underscores."""
    written = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-request-id"}
    return b"_" in name and name.replace(b"_", b"-") in written


HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authentication-info",
    b"proxy-authorization",
    b"te",
    b"transfer-encoding",
    b"upgrade",
    b"http2-settings",
}
Fields = list[tuple[bytes, bytes]]


class Refused(Exception):
    """The plain reader refuses a head."""


class Collector:
    """Takes what httptools calls back with."""

    def __init__(self) -> None:
        self.target = b""
        self.fields: Fields = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


def collect(make_parser: Callable[[Collector], HttpRequestParser | HttpResponseParser], head: bytes) -> Collector:
    collector = Collector()
    if head.find(b"\r\n\r\n") != len(head) - 4 or head.startswith(b"\r\n"):
        raise Refused
    try:
        make_parser(collector).feed_data(head)
    except HttpParserUpgrade:
        pass
    except HttpParserError:
        raise Refused from None
    return collector


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name]


def joined(fields: Fields, name: bytes) -> bytes:
    return b", ".join(filter(None, values(fields, name)))


def listed(fields: Fields, name: bytes) -> list[bytes]:
    members = [member.strip(b" \t").lower() for value in values(fields, name) for member in value.split(b",")]
    return [member for member in members if member]


def plain_options(fields: Fields) -> list[bytes]:
    options = listed(fields, b"connection")
    if any(not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9a-z-]+", option) for option in options):
        raise Refused
    return options


def plain_body(fields: Fields, minor: bytes, nothing: int) -> int:
    lengths, codings = values(fields, b"content-length"), values(fields, b"transfer-encoding")
    if codings:
        if lengths or minor == b"0" or listed(fields, b"transfer-encoding") != [b"chunked"]:
            raise Refused
        return CHUNKED
    if not lengths:
        return nothing
    if len(lengths) > 1 or not re.fullmatch(rb"0*[0-9]{1,18}", lengths[0]):
        raise Refused
    return int(lengths[0])


def plain_host(authority: bytes) -> str:
    match = re.fullmatch(rb"([0-9A-Za-z_.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?", authority)
    if not match or int((match[2] or b":")[1:] or b"0") > 65535:
        raise Refused
    host = match[1].decode().lower()
    if host.startswith("["):
        try:
            return str(IPv6Address(host[1:-1])) and host[1:-1]
        except ValueError:
            raise Refused from None
    host = host.removesuffix(".")
    if not host or "" in host.split("."):
        raise Refused
    return host


def end_to_end(fields: Fields, options: list[bytes], apart: set[bytes], passes: Callable[[bytes], bool]) -> Fields:
    apart = HOP_BY_HOP | apart | set(options)
    return [(name, value) for name, value in fields if name.lower() not in apart and passes(name.lower())]


def only(items: list[bytes]) -> bytes:
    if len(items) != 1:
        raise Refused
    return items[0]


def plain_request(head: bytes, policy: Plain) -> dict[str, Any]:
    """Every attribute of the head of a request, and its fields as pairs."""
    collector = collect(HttpRequestParser, head)
    fields = collector.fields
    match = re.match(rb"([A-Z-]+) ([!-~]+) HTTP/1\.([01])\r\n", head)
    if not match or match[1] == b"CONNECT":
        raise Refused
    method, target, minor = match.groups()
    if target != collector.target or b"#" in target:
        raise Refused
    authority = only(values(fields, b"host"))
    host = plain_host(authority)
    absolute = re.fullmatch(rb"https?://([^/?]+)(.*)", target, re.IGNORECASE)
    if absolute:
        authority, target = absolute.groups()
        host = plain_host(authority)
        if not target.startswith(b"/"):
            target = b"*" if method == b"OPTIONS" and not target else b"/" + target
    elif not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        raise Refused
    options = plain_options(fields)
    body = plain_body(fields, minor, 0)
    passing: Fields = [(b"Host", authority)]
    passing += end_to_end(fields, options, {b"host", b"content-length", b"expect"}, policy.passes)
    if values(fields, b"content-length"):
        passing.append((b"Content-Length", b"%d" % body))
    if minor == b"1" and values(fields, b"expect"):
        passing.append((b"Expect", joined(fields, b"expect")))
    upgrade = joined(fields, b"upgrade") if b"upgrade" in options and minor == b"1" else b""
    te_trailers = b"trailers" in listed(fields, b"te")
    return {
        "method": method,
        "target": target,
        "minor": int(minor),
        "authority": authority,
        "host": host,
        "fields": passing,
        "named": {name: joined(fields, name) for name in policy.taken | (policy.noted - {*options}) if values(fields, name)},
        "body": body,
        "keep_alive": b"close" not in options and (minor == b"1" or b"keep-alive" in options),
        "upgrade": upgrade,
        "expects_continue": body != 0 and minor == b"1" and b"100-continue" in listed(fields, b"expect"),
        "te_trailers": te_trailers,
        "idempotent": method not in (b"POST", b"M-SEARCH"),
        "takes_chunks": minor == b"1",
        "plain": body != CHUNKED and not upgrade and not te_trailers,
    }


def plain_response(head: bytes, method: bytes) -> dict[str, Any]:
    """Every attribute of the head of a response, and its fields as pairs."""
    fields = collect(HttpResponseParser, head).fields
    match = re.match(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*))?\r\n", head)
    if not match:
        raise Refused
    minor, digits, reason = match.groups()
    status = int(digits)
    options = plain_options(fields)
    length = body = plain_body(fields, minor, UNTIL_CLOSE)
    passing = end_to_end(fields, options, {b"content-length"}, lambda name: True)
    if values(fields, b"content-length") and status >= 200 and status != 204:
        passing.append((b"Content-Length", b"%d" % length))
    if method == b"HEAD" or status < 200 or status in (204, 304):
        body = 0
    upgrade = joined(fields, b"upgrade") if status == 101 and b"upgrade" in options else b""
    if status == 101 and not upgrade:
        raise Refused
    keeps = b"close" not in options and (minor == b"1" or b"keep-alive" in options)
    return {
        "status": status,
        "reason": reason or b"",
        "fields": passing,
        "body": body,
        "keep_alive": keeps and body != UNTIL_CLOSE and not upgrade,
        "upgrade": upgrade,
    }


def pairs(lines: bytes) -> Fields:
    """Lines as pairs, without white space around values, which is passed on unchanged."""
    *split, end = lines.split(b"\r\n")
    assert end == b""
    return [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in split)]


def request_attributes(head: RequestHead) -> dict[str, Any]:
    """The same attributes of a parsed head."""
    assert head.lines == b"%b %b HTTP/1.1\r\n%b" % (head.method, head.target, head.fields)
    return {
        "method": head.method,
        "target": head.target,
        "minor": head.minor,
        "authority": head.authority,
        "host": head.host,
        "fields": pairs(head.fields),
        "named": head.named,
        "body": head.body,
        "keep_alive": head.keep_alive,
        "upgrade": head.upgrade.rstrip(b" \t"),
        "expects_continue": head.expects_continue,
        "te_trailers": head.te_trailers,
        "idempotent": head.idempotent,
        "takes_chunks": head.takes_chunks,
        "plain": head.plain,
    }


def response_attributes(head: ResponseHead) -> dict[str, Any]:
    """The same attributes of a parsed head."""
    assert head.lines == b"HTTP/1.1 %d %b\r\n%b" % (head.status, head.reason, head.fields)
    assert not head.says_keep_alive, "the parser removes the line"
    return {
        "status": head.status,
        "reason": head.reason,
        "fields": pairs(head.fields),
        "body": head.body,
        "keep_alive": head.keep_alive,
        "upgrade": head.upgrade.rstrip(b" \t"),
    }


def ours_of_request(head: bytes, policy: FieldPolicy) -> RequestHead | None:
    """What is read, or None when it is refused."""
    try:
        return parse_request(head, policy)
    except HeadError:
        return None


def ours_of_response(head: bytes, method: bytes) -> ResponseHead | None:
    try:
        return parse_response(head, method)
    except HeadError:
        return None


def mostly(good: list[bytes], bad: list[bytes]) -> st.SearchStrategy[bytes]:
    """Ten good ones for each bad one, so that most heads have at most one fault."""
    return st.integers(0, 10).flatmap(lambda draw: st.sampled_from(good if draw < 10 else bad))


def any_case(names: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(names).flatmap(lambda name: st.sampled_from([name, name.lower(), name.upper(), name.swapcase()]))


policy_names = {b"via", b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-anything"}
policy_names |= {b"forwarded", b"x-real-ip", b"x-original-forwarded-for", b"x_forwarded_for", b"x-real_ip"}
special_names = any_case([name.title() for name in sorted(HOP_BY_HOP | policy_names)] + [b"Content-Length", b"Host", b"Expect"])
usual_names = st.sampled_from([b"Connection", b"Content-Length", b"Host", b"Server", b"Date"])
ordinary_names = any_case([b"A", b"Cookie", b"X-Forward", b"Hosts", b"TEE", b"Content-Lengths", b"X-A", b"x_b", b"Accept", b"Vi"])
names = special_names | usual_names | ordinary_names
field_values = st.sampled_from(
    [
        b"",
        b"0",
        b"5",
        b"05",
        b"5, 5",
        b"chunked",
        b"Chunked",
        b"gzip, chunked",
        b"chunked, chunked",
        b"keep-alive",
        b"close",
        b"Upgrade",
        b"keep-alive, upgrade, x-a",
        b"TE",
        b"host",
        b"a, x-forwarded-for",
        b"via, x-real-ip, cookie",
        b"x-forwarded-proto,forwarded",
        b"trailers",
        b"100-continue",
        b"websocket",
        b"example.org",
        b"EXAMPLE.org.:80",
        b"[::1]:8080",
        b"a b",
        b"a,\tb",
        b"\xc3\xa4",
        b"%s",
    ]
) | st.binary(max_size=6)
spaces = st.sampled_from([b" "] * 8 + [b"", b"  ", b"\t"])
ends = st.sampled_from([b""] * 9 + [b" ", b" \t"])
lines = st.builds(lambda *parts: b"%b:%b%b%b\r\n" % parts, names, spaces, field_values, ends)
good_lines = st.sampled_from(
    [
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"connection: Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"TE: trailers\r\n",
        b"X-Forwarded-For: 1.2.3.4\r\n",
        b"X-Real-IP: 1.2.3.4\r\n",
        b"x-forwarded-proto:https \r\n",
        b"X-Request-ID: 7\r\n",
        b"Via: 1.1 a\r\n",
        b"Accept: text/html\r\n",
        b"Cookie: a=b; c=d\r\n",
        b"Set-Cookie: a\r\n",
        b"A:b\r\n",
        b"X-A:   c \t \r\n",
        b"Expect: 100-continue\r\n",
        b"Keep-Alive: 5\r\n",
    ]
)
framings = st.sampled_from([b""] * 2 + [b"Content-Length: 5\r\n", b"content-length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
hosts = mostly([b"Host: example.org\r\n", b"host:a\r\n", b"HOST: a:80 \r\n", b"Host: [::1]\r\n"], [b"", b"Host: a b\r\n"])
methods = mostly([b"GET", b"POST", b"HEAD", b"OPTIONS", b"M-SEARCH"], [b"CONNECT", b"FOO", b"get", b""])
targets = mostly([b"/", b"/a?b=c", b"//a", b"http://b.org:80?c", b"HTTPS://b"], [b"*", b"http://u@b/", b"x", b"/#", b"", b"a:80"])
versions = mostly([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"], [b"HTTP/2.0", b"HTTP/1.2", b"http/1.1"])
request_lines = st.builds(lambda *parts: b"%b %b %b\r\n" % parts, methods, targets, versions)
statuses = mostly([b"200", b"100", b"101", b"204", b"304", b"404", b"500", b"999"], [b"099", b"20"])
reasons = mostly([b" OK", b"", b" ", b" Not \t\xe4 Found"], [b"OK", b" \x01"])
status_lines = st.builds(lambda *parts: b"%b %b%b\r\n" % parts, versions, statuses, reasons)
breaks = st.sampled_from(
    [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b"\x00",
        b"\x0b",
        b":",
        b",",
        b"\r\n ",
        b"\r\n\r\n",
        b"\xff",
        b"5",
        b"chunked",
        b"HTTP/1.1",
    ]
)


def spoilt(heads: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The same with a few bytes put in, taken out or replaced."""
    spoils = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 2), breaks), min_size=1, max_size=2)
    return st.builds(spoil, heads, spoils)


def spoil(head: bytes, spoils: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, put_in in spoils:
        at = place % (len(head) + 1)
        head = head[:at] + put_in + head[at + removed :]
    return head


def join(start: bytes, first: bytes, framing: bytes, more: list[bytes], place: int) -> bytes:
    more.insert(place % (len(more) + 1), framing)
    return start + first + b"".join(more) + b"\r\n"


def heads_of(starts: st.SearchStrategy[bytes], firsts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    wild = st.builds(join, starts, firsts, framings, st.lists(lines | good_lines, max_size=5), st.integers(0, 9))
    good = st.builds(join, starts, firsts, framings, st.lists(good_lines, max_size=5), st.integers(0, 9))
    return good | wild | spoilt(good)


request_heads = heads_of(request_lines, hosts)
response_heads = heads_of(status_lines, st.just(b""))


class AgreementTests(SynchronousTestCase):
    def test_on_requests(self) -> None:
        taken: Counter[bool] = Counter()

        @settings(slowly, max_examples=300)
        @given(request_heads)
        def check(head: bytes) -> None:
            for policy, plain in POLICIES:
                ours = ours_of_request(head, policy)
                try:
                    expected = plain_request(head, plain)
                except Refused:
                    expected = None
                self.assertEqual(request_attributes(ours) if ours else None, expected, policy)
            taken[expected is not None] += 1

        check()
        self.assertGreater(min(taken[True], taken[False]), 30, "both results occur")

    def test_on_responses(self) -> None:
        taken: Counter[bool] = Counter()

        @settings(slowly, max_examples=300)
        @given(response_heads, st.sampled_from([b"GET", b"HEAD", b"POST"]))
        def check(head: bytes, method: bytes) -> None:
            ours = ours_of_response(head, method)
            try:
                expected = plain_response(head, method)
            except Refused:
                expected = None
            self.assertEqual(response_attributes(ours) if ours else None, expected)
            taken[ours is not None] += 1

        check()
        self.assertGreater(min(taken[True], taken[False]), 30, "both results occur")


class AnyBytesTests(SynchronousTestCase):
    @settings(slowly, max_examples=150)
    @given(st.binary(max_size=300) | spoilt(request_heads) | spoilt(response_heads))
    def test_give_a_head_or_a_head_error(self, data: bytes) -> None:
        for policy, _ in POLICIES:
            ours_of_request(data, policy)
        for method in (b"GET", b"HEAD"):
            ours_of_response(data, method)


class StabilityTests(SynchronousTestCase):
    @settings(slowly, max_examples=200)
    @given(request_heads, st.sampled_from([policy for policy, _ in POLICIES]))
    def test_a_written_request_is_read_alike(self, head: bytes, policy: FieldPolicy) -> None:
        first = ours_of_request(head, policy)
        assume(first is not None)
        assert first is not None
        added = b"".join(b"%b: 1.1 x\r\n" % name for name in sorted(policy.taken))
        written = write_request(first, added)
        second = parse_request(written, policy)
        self.assertEqual({name: second.named.get(name) for name in policy.taken}, dict.fromkeys(policy.taken, b"1.1 x"))
        first.minor, first.takes_chunks, first.keep_alive, first.named = 1, True, True, second.named
        self.assertEqual(request_attributes(second), request_attributes(first))
        self.assertEqual(second.fields, first.fields)
        self.assertEqual(write_request(second, added), written)

    @settings(slowly, max_examples=200)
    @given(response_heads, st.booleans(), st.sampled_from([0, 1]))
    def test_a_written_response_is_read_alike(self, head: bytes, keep_alive: bool, minor: int) -> None:
        first = ours_of_response(head, b"GET")
        assume(first is not None)
        assert first is not None
        chunked = first.body == CHUNKED
        written = write_response(first, minor=minor, keep_alive=keep_alive, chunked=chunked)
        second = parse_response(written, b"GET")
        self.assertEqual((second.status, second.reason, second.fields), (first.status, first.reason, first.fields))
        self.assertEqual((second.body, second.upgrade), (first.body, first.upgrade))
        if first.status >= 200:
            self.assertEqual(second.keep_alive, keep_alive and first.body != UNTIL_CLOSE)
        self.assertEqual(write_response(second, minor=minor, keep_alive=keep_alive, chunked=chunked), written)
