"""A service to bring requests to: ``python3 examples/hello.py laptop 8000`` answers "laptop" and what was asked.

Run it twice under two names, with a client for each, and see who answers.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    """Says who it is."""

    # keeps the connection, so that rtunnel can use its stream again
    protocol_version = "HTTP/1.1"
    name = "hello"

    def do_GET(self) -> None:
        """Answer."""
        body = f"{self.name}: {self.path} for {self.headers.get('X-Forwarded-For', 'somebody')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Say nothing; rtunnel counts."""


def make_server(name: str, port: int) -> ThreadingHTTPServer:
    """A server on the loopback that answers with that name."""
    return ThreadingHTTPServer(("127.0.0.1", port), type("Named", (Hello,), {"name": name}))


if __name__ == "__main__":
    make_server(sys.argv[1], int(sys.argv[2])).serve_forever()
