"""The engines alone, timed by pyperf: ``python -m bench.micro`` (``--fast`` for a rough look, ``-o FILE`` to keep it).

``python -m pyperf compare_to OLD NEW --table`` compares two kept files. Nothing here touches a socket: these figures say
where a microsecond of :mod:`bench`'s tables goes, and whether a change of an engine helps before the whole is run.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any

import pyperf

from bench.exchange import KINDS, VISITORS, Exchanges, Kind
from rtunnel.routing.ingress import IngressRule, IngressTable
from rtunnel.routing.tunnels import Connector, TunnelRegistry
from rtunnel.transport.websocket_mask import mask
from rtunnel.wire import smux
from rtunnel.wire.http1 import (
    HeadLimits,
    RequestReader,
    ResponseReader,
    head_end,
    parse_request,
    parse_response,
    write_request,
    write_response,
)

#: How many different inputs a benchmark goes through, so that no cache of identical ones flatters.
_VARIETY = 1024

_FEW_FIELDS = b"GET /small/%d HTTP/1.1\r\nHost: bench.local\r\nUser-Agent: wrk\r\nAccept: */*\r\nX-Visit: %d\r\n\r\n"

_BROWSER = (
    b"GET /a/page.html?number=%d HTTP/1.1\r\n"
    b"Host: shop.example.org\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\n"
    b'sec-ch-ua: "Chromium";v="130", "Not?A_Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-GB,en;q=0.9\r\n"
    b"Cookie: session=%d; theme=dark\r\n\r\n"
)

_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\nLast-Modified: Mon, 23 Nov 2026 09:00:00 GMT\r\nConnection: keep-alive\r\n"
    b'ETag: "6742-%x"\r\nAccept-Ranges: bytes\r\n\r\n'
)

_FORWARDING = (
    b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: bench.local\r\n"
    b"X-Request-Id: 0123456789abcdef0123456789abcdef\r\nVia: 1.1 rtunnel\r\n"
)

_TUNNEL = uuid.UUID("5f3a9f60-6d2c-4b8e-9a51-0c7c2f6f0001")


def variants(head: bytes) -> list[bytes]:
    """Heads that differ in their two numbers."""
    return [head % (number, number) for number in range(_VARIETY)]


def add(runner: Any, name: str, call: Callable[[Any], object], inputs: list[Any]) -> None:
    """Time ``call(input)`` over all inputs in turn."""

    def timed(loops: int) -> float:
        values: Iterator[Any] = itertools.islice(itertools.cycle(inputs), loops)
        start = perf_counter()
        for value in values:
            call(value)
        return perf_counter() - start

    runner.bench_time_func(name, timed)


def http_heads(runner: Any) -> None:
    """Heads found, parsed and written again."""
    limits = HeadLimits()
    few, browser, responses = variants(_FEW_FIELDS), variants(_BROWSER), variants(_RESPONSE)
    add(runner, "http: end of a browser's head found", lambda data: head_end(data, 0, limits), browser)
    add(runner, "http: request of 4 fields parsed", parse_request, few)
    add(runner, "http: request of a browser parsed", parse_request, browser)
    parsed = [parse_request(head) for head in browser]
    add(runner, "http: request of a browser written", lambda head: write_request(head, _FORWARDING), parsed)
    add(runner, "http: response of nginx parsed", lambda head: parse_response(head, b"GET"), responses)
    answers = [parse_response(head, b"GET") for head in responses]

    def write(answer: Any) -> bytes:
        return write_response(answer, minor=1, keep_alive=True, chunked=False)

    add(runner, "http: response of nginx written", write, answers)


def known_heads(runner: Any) -> None:
    """Heads like earlier ones, which are read with a template."""
    limits = HeadLimits()
    few, browser, responses = variants(_FEW_FIELDS), variants(_BROWSER), variants(_RESPONSE)
    for name, heads in (("4 fields", few), ("a browser", browser)):
        requests = RequestReader(limits)
        for head in heads[:64]:
            requests.read(head)
        add(runner, f"http: request of {name} read with a template", requests.read, heads)
    answers = ResponseReader(limits)
    for head in responses[:64]:
        answers.read(head, b"GET")
    add(runner, "http: response of nginx read with a template", lambda head: answers.read(head, b"GET"), responses)


def whole_exchanges(runner: Any) -> None:
    """A request and its answer through all of the server's code; sockets and reactor left out."""
    for name, kind in KINDS.items():

        def timed(loops: int, kind: Kind = kind) -> float:
            exchanges = Exchanges(kind)
            return sum(exchanges.turn() for _ in range(loops)) / VISITORS

        runner.bench_time_func(f"server: an exchange, {VISITORS} in a turn, {name}", timed)


def conversation() -> tuple[smux.Session, smux.Session]:
    """Both ends of a session, the second accepts."""
    return smux.Session(opens=True), smux.Session(opens=False)


def carry(sender: smux.Session, receiver: smux.Session) -> None:
    """One turn: what the one has to send is received by the other, consumed, and its credit returned."""
    for kind, stream, payload in receiver.receive(sender.take_output()):
        if kind == smux.DATA:
            receiver.consumed(stream, len(payload))
    credit = receiver.take_output()
    if credit:
        sender.receive(credit)


def smux_frames(runner: Any) -> None:
    """Payload from end to end of a session: framed, received, consumed, its credit returned."""
    for size, count in ((200, 1), (200, 64), (32768, 1)):
        sender, receiver = conversation()
        streams = [sender.open() for _ in range(count)]
        payload = os.urandom(size)

        def turn(
            _: None,
            sender: smux.Session = sender,
            receiver: smux.Session = receiver,
            streams: list[int] = streams,
            payload: bytes = payload,
        ) -> None:
            for stream in streams:
                sender.send(stream, payload)
            carry(sender, receiver)

        frames = f"{count} frame of {size} bytes" if count == 1 else f"{count} frames of {size} bytes in one turn"
        add(runner, f"smux: {frames}", turn, [None])
    add(runner, "smux: stream opened, ended by both", open_and_end(*conversation()), [None])


def open_and_end(opener: smux.Session, acceptor: smux.Session) -> Callable[[None], None]:
    """A stream's whole life without payload."""

    def life(_: None) -> None:
        stream = opener.open()
        opener.finish(stream)
        acceptor.receive(opener.take_output())
        acceptor.finish(stream)
        opener.receive(acceptor.take_output())

    return life


def masking(runner: Any) -> None:
    """WebSocket masks, as the transport applies them."""
    key = os.urandom(4)
    for size in (200, 32768, 1 << 20):
        add(runner, f"mask: {size} bytes", lambda data: mask(data, key), [os.urandom(size)])


def routing(runner: Any) -> None:
    """The way to a tunnel and to one of its connectors."""
    for count in (1, 10_000):
        hosts = [f"h{number}.example.org" for number in range(count)]
        table = IngressTable([IngressRule(host, _TUNNEL) for host in hosts])
        add(runner, f"ingress: exact host among {count}", table.lookup, hosts[:: max(count // _VARIETY, 1)])
    table = IngressTable([IngressRule(f"*.h{number}.example.org", _TUNNEL) for number in range(10_000)])
    names = [f"a.b.h{number}.example.org" for number in range(_VARIETY)]
    add(runner, "ingress: wildcard two labels up among 10000", table.lookup, names)
    for count in (1, 2, 1_000):
        registry: TunnelRegistry[None] = TunnelRegistry()
        for number in range(count):
            registry.add(Connector(uuid.UUID(int=number + 1), _TUNNEL, number % 254 + 1, None))
        add(runner, f"choice by weight among {count}", registry.choose, [_TUNNEL])


def main() -> None:
    """Time everything; pyperf reads the command line."""
    runner = pyperf.Runner(program_args=("-m", "bench.micro"))
    for group in (smux_frames, http_heads, known_heads, masking, routing, whole_exchanges):
        group(runner)


if __name__ == "__main__":
    main()
