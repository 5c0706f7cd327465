"""Heads and short messages of HTTP/1 that many tests send."""

from __future__ import annotations

__all__ = ["GET", "OK", "POST"]

GET = b"GET / HTTP/1.1\r\nHost: pod.local\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: pod.local\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npod"
