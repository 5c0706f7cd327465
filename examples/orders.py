"""A service that needs the world of its pod: ``python3 examples/orders.py 3000`` says how many orders its database has.

Where the database is, and what to say, is in its environment: ``DATABASE_URL`` and ``GREETING``. It asks with ``psql``, as any
driver would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Orders(BaseHTTPRequestHandler):
    """Answers with the number of orders."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Ask the database, and send the answer."""
        query = ["psql", os.environ["DATABASE_URL"], "-Atqc", "select count(*) from orders"]
        asked = subprocess.run(query, capture_output=True, text=True, check=False)
        text = f"{asked.stdout.strip()} orders" if asked.returncode == 0 else asked.stderr.strip()
        body = f"{os.environ['GREETING']}, {os.uname().nodename}: {text}\n".encode()
        self.send_response(200 if asked.returncode == 0 else 500)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Log nothing: rtunnel shows each request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Orders).serve_forever()
