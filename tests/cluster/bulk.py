"""Bytes as fast as they go, in a pod. ``python bulk.py PORT``.

A connection says ``down N`` or ``up N`` and a line end; then N bytes come, or are taken and answered with ``done`` and a line end.
"""

from __future__ import annotations

import socketserver
import sys

BLOCK = bytes(1 << 20)


class Bulk(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self) -> None:
        """Send the bytes, or take them."""
        direction, _, size = self.rfile.readline().decode().partition(" ")
        left = int(size)
        while left:
            if direction == "down":
                self.wfile.write(BLOCK[:left])
                left -= min(left, len(BLOCK))
            else:
                got = len(self.rfile.read1(len(BLOCK)))
                if not got:
                    return
                left -= got
        if direction == "up":
            self.wfile.write(b"done\n")


class Server(socketserver.ThreadingTCPServer):
    """Of all connections."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("", int(sys.argv[1])), Bulk).serve_forever()
