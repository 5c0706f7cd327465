"""The C library's allocator: told once to keep what it gets back."""

from __future__ import annotations

__all__ = ["LARGEST", "keep_large_blocks"]

LARGEST = 4 << 20
"""Bytes of the largest block that is kept rather than given back to the system at once; at most twice as much is kept in all."""


def keep_large_blocks() -> None:
    """Have freed blocks of up to :data:`LARGEST` bytes used again.

    The allocator of glibc begins with giving every block of 128 KiB back as soon as it is freed, and all of a bulk read's memory
    with it: the next read then pays a page fault for each 4 KiB, which costs more than all the rest of its way. Both bounds follow
    the largest block that was freed (mallopt(3), ``M_MMAP_THRESHOLD``); other allocators are not impressed.
    """
    bytes(LARGEST)
