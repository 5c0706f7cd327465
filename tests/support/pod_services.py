"""Run by :mod:`tests.support.pod_network`: the DNS of a cluster, and an HTTP service at two ports that says who asks.

Arguments: the address of the DNS, that of the service, the domain, and ``NAME=ADDRESS`` for each name of it. Names outside of the
domain do not exist, but for ``silent.test``, about which the DNS says nothing.
"""

from __future__ import annotations

import socket
import sys
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

NO_NAME, A = 3, 1
FULL = 83
"""The port of the service that does not answer."""


def answer(query: bytes, names: dict[str, str]) -> bytes | None:
    """The answer to a question for an address (RFC 1035 section 4)."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode().lower())
        at += 1 + query[at]
    name, kind = ".".join(labels), int.from_bytes(query[at + 1 : at + 3])
    question = query[12 : at + 5]
    if name == "silent.test":
        return None
    address = names.get(name)
    if address is None:
        return query[:2] + bytes((0x85, 0x80 | NO_NAME)) + b"\0\1\0\0\0\0\0\0" + question
    if kind != A:
        return query[:2] + b"\x85\x80\0\1\0\0\0\0\0\0" + question
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton(address)
    return query[:2] + b"\x85\x80\0\1\0\1\0\0\0\0" + question + record


class Handler(BaseHTTPRequestHandler):
    """Says the Host of a request, and who sent it."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.headers['Host']} for {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def full_port(address: str, port: int) -> list[socket.socket]:
    """A port that answers no connect any more: as many as may wait there do, and nobody accepts them."""
    listening = socket.socket()
    listening.bind((address, port))
    listening.listen(0)
    waiting = [socket.socket() for _ in range(2)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex((address, port))
    return [listening, *waiting]


def main() -> None:
    """Serve until it is ended."""
    dns, web, domain, *pairs = sys.argv[1:]
    names = {f"{name}.{domain}": address for name, _, address in (pair.partition("=") for pair in pairs)}
    sockets = full_port(web, FULL)
    for port in (80, 8080):
        Thread(target=ThreadingHTTPServer((web, port), Handler).serve_forever, daemon=True).start()
    with ExitStack() as open_ones, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for one in sockets:
            open_ones.enter_context(one)
        asked.bind((dns, 53))
        print("ready", flush=True)
        while True:
            query, sender = asked.recvfrom(512)
            found = answer(query, names)
            if found is not None:
                asked.sendto(found, sender)


if __name__ == "__main__":
    main()
