"""Settings of the C library's allocator."""

from __future__ import annotations

__all__ = ["MAX_BLOCK", "keep_large_blocks"]

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
