"""Datagrams on a stream of bytes: each is ``LENGTH(2, big endian)`` and its bytes.

The format is gost's (go-gost/x ``connector/tunnel/conn.go``): on the stream of a UDP connector after the preface, and on a
visitor's connection after the response to CONNECT, in both directions. A datagram may be empty.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_DATAGRAM", "DatagramReader", "frame_datagram"]

LENGTH: Final = 2

MAX_DATAGRAM: Final = 65507
"""Maximum size of a UDP datagram over IPv4, in bytes (65535 without the headers of IP and UDP)."""


def frame_datagram(datagram: bytes) -> bytes:
    """Frame a datagram.

    :raises ValueError: when it is larger than 65535 bytes.
    """
    if len(datagram) > 65535:
        raise ValueError("a datagram has at most 65535 bytes")
    return len(datagram).to_bytes(LENGTH, "big") + datagram


class DatagramReader:
    """Parses datagrams from bytes that may be split anywhere; buffers less than one framed datagram."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def waiting(self) -> int:
        """Buffered bytes of an incomplete datagram, including its length."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[bytes]:
        """Parse received bytes.

        :returns: the datagrams that are complete now, in order.
        """
        if self._buffer:
            data = self._buffer + data
        found: list[bytes] = []
        position = 0
        while True:
            begin = position + LENGTH
            end = begin + int.from_bytes(data[position:begin], "big")
            if begin > len(data) or end > len(data):
                break
            found.append(data[begin:end])
            position = end
        self._buffer = data[position:]
        return found
