"""How a long-lived process uses memory: the C library's allocator, and Python's cyclic garbage collector; and how much there is."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.task import LoopingCall

__all__ = [
    "COLLECT_AFTER",
    "MAX_BLOCK",
    "RETURN_EVERY",
    "collect_rarely",
    "expect_bulk",
    "keep_large_blocks",
    "memory_limit",
    "resident_memory",
    "return_freed_memory",
]

MAX_BLOCK = 4 << 20
"""Bytes of the largest block that is reused rather than returned to the system."""
RETURN_EVERY = 60.0
"""Seconds between two calls of :func:`return_freed_memory`."""

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def keep_large_blocks() -> None:
    """Have freed blocks of up to :data:`MAX_BLOCK` bytes reused.

    At first, glibc's allocator returns every block of 128 KiB and more to the system as soon as it is freed, including the memory
    of bulk reads: the next read then causes a page fault for each 4 KiB, which costs more than everything else it does. The
    threshold adapts to the largest block that was freed (mallopt(3), ``M_MMAP_THRESHOLD``), so freeing one is enough. Other
    allocators are not affected.
    """
    bytes(MAX_BLOCK)


def return_freed_memory() -> None:
    """Give the system the pages in which everything is freed, except those that the next large blocks will take.

    By itself glibc's allocator returns only what is free at the end of its heap, so one small object that lives long keeps all
    that was freed before it, and a process that carries bulk data grows for an hour (malloc_trim(3) does the rest). It takes a
    millisecond or two for each 10 MiB that are returned, and 20 ms in all for 300 MiB in pieces of 600 bytes, of which none is.
    Other C libraries do without, or have no such call.
    """
    if (trim := getattr(_LIBC, "malloc_trim", None)) is not None:
        trim(ctypes.c_size_t(2 * MAX_BLOCK))


def expect_bulk(reactor: Any) -> LoopingCall:
    """Use memory as a process should that carries much for long: keep large blocks, return freed memory, collect rarely.

    :param reactor: the clock of :func:`return_freed_memory`.
    :returns: calls that; whoever stops the process may stop it.
    """
    keep_large_blocks()
    collect_rarely()
    returning = LoopingCall(return_freed_memory)
    returning.clock = reactor
    returning.start(RETURN_EVERY, now=False)
    return returning


UNKNOWN = 4 << 30
"""Bytes of memory that a machine is taken to have whose system tells nothing that we read (Windows)."""
COLLECT_AFTER = 20_000
"""Objects more than before after which the collector looks at the young ones; Python's default is 700."""


def collect_rarely() -> None:
    """Have the cyclic garbage collector run less often, and leave alone what the process started with.

    Requests and streams hold no reference cycles, so all of theirs is freed as it is dropped. The collector finds nothing among
    them, but by default it looks at each of some hundred that are in progress, several times in a thousand requests.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)


def memory_limit(root: Path = Path("/")) -> int:
    """Bytes that the process may use: the memory of the machine, or less where a cgroup of the process has a limit.

    :param root: where the system's files are.
    """
    if sys.platform == "win32":
        return UNKNOWN
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in _limit_files(root):
        with suppress(OSError, ValueError):
            # "max" is no number
            limits.append(int(file.read_text()))
    return min(limits)


def _limit_files(root: Path) -> list[Path]:
    """Where the limits of the cgroups are, in which the process is: version 2 (each group and those that hold it), and 1."""
    files = [root / "sys/fs/cgroup/memory/memory.limit_in_bytes", root / "sys/fs/cgroup/memory.max"]
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, group = line.split(":", 2)
            mount = "memory" if controllers else ""
            name = "memory.limit_in_bytes" if controllers else "memory.max"
            if number == "0" or "memory" in controllers.split(","):
                home = root / "sys/fs/cgroup" / mount / group.lstrip("/")
                files += [folder / name for folder in (home, *home.parents) if (root / "sys/fs/cgroup") in folder.parents]
    return files


def resident_memory() -> int | None:
    """Bytes of memory that the process has now; None where the system does not tell (only Linux does)."""
    if sys.platform == "win32":
        return None
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
