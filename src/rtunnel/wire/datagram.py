"""Datagrams on a stream of bytes: each is ``LENGTH(2, big endian)`` and its bytes.

The form is gost's (go-gost/x ``connector/tunnel/conn.go``): on the stream of a UDP connector behind the preface, and on a visitor's
connection behind the answer to CONNECT, in both directions. A datagram may be empty.
"""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_DATAGRAM", "DatagramReader", "frame_datagram"]

LENGTH: Final = 2

MAX_DATAGRAM: Final = 65507
"""Bytes of the largest datagram that UDP carries over IPv4 (65535 without the headers of IP and UDP)."""


def frame_datagram(datagram: bytes) -> bytes:
    """The bytes that stand for a datagram.

    :raises ValueError: when it is larger than 65535 bytes.
    """
    if len(datagram) > 65535:
        raise ValueError("a datagram has at most 65535 bytes")
    return len(datagram).to_bytes(LENGTH, "big") + datagram


class DatagramReader:
    """Takes datagrams out of bytes that may be cut anywhere; keeps less than one datagram with its length."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def waiting(self) -> int:
        """Bytes of a datagram that is not whole yet, its length included."""
        return len(self._buffer)

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes.

        :returns: the datagrams that are whole now, in their order.
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
