"""Whether something listens at a local port, without connecting to it: a service may be waiting for its one connection."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

__all__ = ["LISTENING", "is_local", "nothing_listens", "written"]

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The sockets of this network namespace; only Linux has them.

"It will first list all listening TCP sockets, and next list all established TCP connections" (``proc_net_tcp`` in the kernel's
documentation).
"""
LISTENING = "0A"


def written(address: str) -> str:
    """An IP address as the tables write it: each 32 bits as a number of this machine."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return "".join(f"{int.from_bytes(packed[start : start + 4], sys.byteorder):08X}" for start in range(0, len(packed), 4))


_EVERY = ("0.0.0.0", "::")
_V4 = ("127.0.0.1", "::ffff:127.0.0.1", *_EVERY)
_V6 = ("::1", *_EVERY)
_REACHED_AT = {"localhost": (*_V4, *_V6), "127.0.0.1": _V4, "::1": _V6}
"""Where a service has to listen to be reached at a local address."""


def is_local(host: str) -> bool:
    """Whether a host is this machine's loopback: only then can it be known what listens there."""
    return host in _REACHED_AT


def nothing_listens(host: str, port: int, tables: tuple[Path, ...] = TABLES) -> bool:
    """Whether it is certain that nothing listens at a local address.

    Takes some milliseconds, in which the system walks through its table of connections.

    :param host: the loopback address, or ``localhost``.
    :returns: False where something does, where the address is not local, and where the system does not tell.
    """
    places = _REACHED_AT.get(host)
    if places is None:
        return False
    wanted = {f"{written(place)}:{port:04X}" for place in places}
    try:
        found = [wanted.isdisjoint(_listeners(table)) for table in tables if table.exists()]
    except OSError:
        return False
    return bool(found) and all(found)


def _listeners(table: Path) -> Iterator[str]:
    """Where something listens. The connections, of which a machine may have many, come after that, and are not read."""
    with table.open(encoding="ascii") as lines:
        next(lines, "")
        for row in takewhile(lambda row: row[3] == LISTENING, map(str.split, lines)):
            yield row[1]
