"""A small web service that answers every GET with its own name; run as ``python -m rtunnel.demo.service``.

It plays the pod's service and the developer's. It is also useful by itself, as a first target for a client.
"""

from __future__ import annotations

import argparse
import signal
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

__all__ = ["NamedService", "main"]


class NamedService(ThreadingTCPServer):
    """A web service with one answer.

    Not :class:`http.server.HTTPServer`, which asks DNS for the name of its own address before it listens.

    :param address: host and port to listen on; port 0 is any free one.
    :param name: the body of every answer.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], name: str) -> None:
        self.name = name
        super().__init__(address, _Answer)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        port: int = self.socket.getsockname()[1]
        return port


class _Answer(BaseHTTPRequestHandler):
    """One connection."""

    server: NamedService
    server_version = "rtunnel-demo"
    protocol_version = "HTTP/1.1"
    # head and body in one segment, at once: else each answer waits for an acknowledgement
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer with the name."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer as GET would, without the body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        body = f"{self.server.name}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m rtunnel.demo.service",
        description="A small web service that answers every GET with its own name.",
        epilog="example: python -m rtunnel.demo.service --name laptop --port 8080",
    )
    parser.add_argument("--name", default="laptop", help="the body of the answers (default: laptop)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on, 0 for a free one (default: 8080)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Serve until SIGTERM or Ctrl-C.

    :param argv: the arguments.
    :return: the exit status.
    """
    arguments = _arguments(argv)
    try:
        service = NamedService((arguments.host, arguments.port), arguments.name)
    except (OSError, OverflowError) as error:
        print(f"cannot listen on {arguments.host}:{arguments.port}: {error}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with service:
        print(f"{service.name} listens on {arguments.host}:{service.port}", flush=True)
        try:
            service.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
