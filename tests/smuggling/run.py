"""Heads sent through real processes to a real server; what it saw is compared with what the engine understands of them."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from itertools import islice
from uuid import uuid4

from attrs import frozen

from tests.smuggling.backends import Seen
from tests.smuggling.forwarding import forwarded
from tests.smuggling.servers import Server
from tests.support.processes import free_port, rtunnel, wait_until

__all__ = ["Disagreement", "Result", "compare"]

AT_ONCE = 100
"""Connections at the same time."""
PATIENCE = 20.0
"""Seconds until a visitor that awaits another answer gives up."""
SENTINEL = "127.9.9.9"

_ANSWERS = re.compile(rb"HTTP/1\.1 [2-5]\d\d ")


@frozen
class Disagreement:
    """A server saw something else than what was sent to it."""

    data: bytes
    sent: list[Seen]
    seen: list[Seen]


@frozen
class Result:
    """What became of a run.

    :ivar requests: that the server saw.
    """

    requests: int
    disagreements: list[Disagreement]


def compare(server: Server, cases: Iterable[bytes]) -> Result:
    """Send each case over a connection of its own, through a real server and client, to a target."""
    tunnel, tunnel_port, port = uuid4(), free_port(), free_port()
    with ExitStack() as stack:
        listener = f"tunnel+ws://127.0.0.1:{tunnel_port}?entrypoint=127.0.0.1:{port}&tunnel=*:{tunnel}"
        stack.enter_context(rtunnel("server", "-L", listener))
        url = f"tunnel+ws://127.0.0.1:{tunnel_port}?tunnel.id={tunnel}"
        client = stack.enter_context(rtunnel("client", "-L", f"rtcp://:0/127.0.0.1:{server.port}", "-F", url))
        client.wait_for("joined tunnel")
        sent: dict[str, tuple[bytes, list[Seen]]] = {}
        numbered = enumerate(cases)
        while group := list(islice(numbered, AT_ONCE)):
            visitors = {f"127.1.{number // 250}.{number % 250 + 1}": data for number, data in group}
            sent |= {address: (data, forwarded(data)[0]) for address, data in visitors.items()}
            visit(port, {address: (data, len(sent[address][1])) for address, data in visitors.items()})
        visit(port, {SENTINEL: (b"GET /the-end HTTP/1.1\r\nHost: pod.local\r\n\r\n", 1)})
        wait_until(lambda: SENTINEL in server.seen(), "the last request in what the server saw")
    seen = server.seen()
    assert len(seen.pop(SENTINEL)) == 1
    found = [Disagreement(data, requests, seen.get(address, [])) for address, (data, requests) in sent.items()]
    foreign = [Disagreement(b"", [], requests) for address, requests in seen.items() if address not in sent]
    wrong = [one for one in found if not in_order(one.seen, one.sent)]
    return Result(sum(map(len, seen.values())), wrong + foreign)


def in_order(seen: list[Seen], sent: list[Seen]) -> bool:
    """Whether a server saw what was sent, without those that it refused."""
    rest = iter(sent)
    return all(request in rest for request in seen)


def visit(port: int, cases: dict[str, tuple[bytes, int]]) -> None:
    """Send all cases at once, each from its own address, and read so many answers of each, or to its end."""
    with ExitStack() as stack:
        waiting: dict[socket.socket, tuple[bytes, int]] = {}
        for address, (data, answers) in cases.items():
            visitor = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), source_address=(address, 0))))
            visitor.sendall(data)
            if answers:
                waiting[visitor] = b"", answers
        end = time.monotonic() + PATIENCE
        while waiting and time.monotonic() < end:
            for visitor in select.select(list(waiting), [], [], 1)[0]:
                received, answers = waiting.pop(visitor)
                piece = read(visitor)
                received += piece
                if piece and len(_ANSWERS.findall(received)) < answers:
                    waiting[visitor] = received, answers
        assert not waiting, f"no answer to {[cases[visitor.getsockname()[0]] for visitor in waiting]}"


def read(visitor: socket.socket) -> bytes:
    try:
        return visitor.recv(65536)
    except ConnectionError:
        return b""
