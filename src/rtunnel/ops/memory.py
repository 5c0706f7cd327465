"""How a long-lived process uses memory: the C library's allocator, and Python's cyclic garbage collector."""

from __future__ import annotations

import gc

__all__ = ["COLLECT_AFTER", "MAX_BLOCK", "collect_rarely", "keep_large_blocks"]

MAX_BLOCK = 4 << 20
"""Bytes of the largest block that is reused rather than returned to the system; at most twice as much is kept in total."""


def keep_large_blocks() -> None:
    """Have freed blocks of up to :data:`MAX_BLOCK` bytes reused.

    At first, glibc's allocator returns every block of 128 KiB and more to the system as soon as it is freed, including the memory
    of bulk reads: the next read then causes a page fault for each 4 KiB, which costs more than everything else it does. The
    threshold adapts to the largest block that was freed (mallopt(3), ``M_MMAP_THRESHOLD``), so freeing one is enough. Other
    allocators are not affected.
    """
    bytes(MAX_BLOCK)


COLLECT_AFTER = 20_000
"""Objects more than before after which the collector looks at the young ones; Python's default is 700."""


def collect_rarely() -> None:
    """Have the cyclic garbage collector run less often, and leave alone what the process started with.

    Requests and streams hold no reference cycles, so all of theirs is freed as it is dropped. The collector finds nothing among
    them, but by default it looks at each of some hundred that are in progress, several times in a thousand requests.
    """
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 10, 10)
