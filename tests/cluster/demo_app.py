"""The application of the demo on the laptop: it says what it has of the pod. ``python demo_app.py PORT``."""

from __future__ import annotations

import os
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit


def database() -> str:
    """What Redis answers, at the address that the pod's environment names."""
    url = urlsplit(os.environ["DB_URL"])
    with socket.create_connection((url.hostname or "", url.port or 0), 10) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(100).decode().strip()


def files() -> str:
    """A file of the pod's ConfigMap."""
    path = Path("/config/app.yaml")
    if not path.exists():
        path = Path(os.environ["RTUNNEL_RUN_ROOT"]) / "config" / "app.yaml"
    return path.read_text(encoding="utf-8").strip()


class Handler(BaseHTTPRequestHandler):
    """Answers every GET."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say what is there."""
        text = (
            f"the laptop of Alice; CHAIN={os.environ['CHAIN']}; {files()}; {os.environ['DB_URL'].partition('@')[2]}: {database()}\n"
        )
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """``rtunnel dev`` has a line for each request already."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
