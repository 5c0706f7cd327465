"""Whether something listens at a local port, without connecting to it: a service may be waiting for its one connection."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

__all__ = ["LISTENING", "nothing_listens", "written"]

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The sockets of this network namespace (``proc_net_tcp`` in the kernel's documentation); only Linux has them."""
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


def nothing_listens(host: str, port: int, tables: tuple[Path, ...] = TABLES) -> bool:
    """Whether it is certain that nothing listens at a local address.

    :param host: the loopback address, or ``localhost``.
    :returns: False where something does, where the address is not local, and where the system does not tell.
    """
    places = _REACHED_AT.get(host)
    if places is None:
        return False
    wanted = {f"{written(place)}:{port:04X}" for place in places}
    try:
        texts = [table.read_text(encoding="ascii") for table in tables if table.exists()]
    except OSError:
        return False
    rows = [line.split() for text in texts for line in text.splitlines()[1:]]
    return bool(texts) and not any(row[3] == LISTENING and row[1] in wanted for row in rows)
