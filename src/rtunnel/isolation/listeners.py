"""The ports at which the processes of this network namespace listen, as the kernel's tables say (proc_net_tcp of the kernel)."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["TABLES", "listening_ports", "read_tables"]

TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
LISTEN = "0A"
_REACHED = {
    *((address, socket.AF_INET) for address in ("0.0.0.0", "127.0.0.1")),
    *((address, socket.AF_INET6) for address in ("::", "::1")),
}
"""The addresses of listeners that a connection to 127.0.0.1 or ::1 reaches."""


def read_tables(paths: Iterable[str] = TABLES) -> list[str]:
    """The tables; of those that this system does not have, nothing."""
    texts = []
    for path in paths:
        with suppress(OSError):
            texts.append(Path(path).read_text(encoding="ascii"))
    return texts


def listening_ports(texts: Iterable[str]) -> list[int]:
    """The ports of TCP at which something listens that loopback reaches.

    :param texts: the tables.
    """
    found = set()
    for text in texts:
        for line in text.splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            host, _, port = local.partition(":")
            if state == LISTEN and _address(host) in _REACHED:
                found.add(int(port, 16))
    return sorted(found)


def _address(text: str) -> tuple[str, socket.AddressFamily]:
    """An address in words of 32 bits, each in the order of this machine's bytes."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, b"".join(words)), family
