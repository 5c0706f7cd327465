"""Which process has bound a port, where the system tells: on Linux, of one's own processes, or as root of all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from rtunnel.transport.listening import LISTENING, written

__all__ = ["port_holder"]

UNCONNECTED = "07"
"""The state of a UDP socket that receives from any address."""
_EVERY = ("", "0.0.0.0", "::")


def port_holder(host: str, port: int, *, udp: bool = False, proc: Path = Path("/proc")) -> str | None:
    """Return the name and PID of the process that keeps others from binding a port: ``nginx, PID 812``.

    :param host: where it was to be bound; a name counts as every address.
    :param proc: where the kernel describes processes and sockets (proc(5)).
    :returns: ``None`` where that is not known.
    """
    with suppress(OSError, ValueError, IndexError):
        inodes = set(_inodes(proc / "net", host, port, udp=udp))
        for process in sorted(proc.iterdir()) if inodes else ():
            if process.name.isdigit() and not inodes.isdisjoint(_sockets(process / "fd")):
                return f"{(process / 'comm').read_text(errors='replace').strip()}, PID {process.name}"
    return None


def _inodes(tables: Path, host: str, port: int, *, udp: bool) -> Iterator[str]:
    """Yield the inodes of the sockets at an address or at every address."""
    name, state = ("udp", UNCONNECTED) if udp else ("tcp", LISTENING)
    try:
        places = {written(place) for place in (host, *_EVERY) if place} if host not in _EVERY else None
    except OSError:
        places = None
    for table in (tables / name, tables / f"{name}6"):
        for line in table.read_text(encoding="ascii").splitlines()[1:] if table.exists() else ():
            row = line.split()
            address, _, number = row[1].partition(":")
            if int(number, 16) == port and row[3] == state and (places is None or address in places):
                yield row[9]


def _sockets(descriptors: Path) -> Iterator[str]:
    """Yield the inodes of a process's sockets; none of a process of somebody else."""
    with suppress(OSError):
        for descriptor in descriptors.iterdir():
            with suppress(OSError):
                kind, _, inode = os.readlink(descriptor).partition(":")
                if kind == "socket":
                    yield inode.strip("[]")
