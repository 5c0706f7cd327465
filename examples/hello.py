"""A service to try rtunnel with: ``python3 examples/hello.py laptop 8000`` answers with "laptop" and the path.

Run it twice under two names, with a client for each, and see which one answers.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hello(BaseHTTPRequestHandler):
    """Answers with its name."""

    # keeps the connection open, so that rtunnel can reuse its stream
    protocol_version = "HTTP/1.1"
    name = "hello"

    def do_GET(self) -> None:
        """Send the answer."""
        body = f"{self.name}: {self.path} for {self.headers.get('X-Forwarded-For', 'an unknown visitor')}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Log nothing: rtunnel has metrics."""


def make_server(name: str, port: int) -> ThreadingHTTPServer:
    """Return a server on loopback that answers with that name."""
    return ThreadingHTTPServer(("127.0.0.1", port), type("Named", (Hello,), {"name": name}))


if __name__ == "__main__":
    make_server(sys.argv[1], int(sys.argv[2])).serve_forever()
