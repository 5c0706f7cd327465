"""Memory that is freed and used again, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

from twisted.trial.unittest import SkipTest, SynchronousTestCase

BULK = """
import resource
from rtunnel.ops.allocator import keep_large_blocks
from rtunnel.transport.sockets import BULK_READ_SIZE
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def pass_on():
    data = bytearray(BULK_READ_SIZE)
    return bytes(data), bytes(data)
for _ in range(5):
    pass_on()
start = faults()
for _ in range(100):
    pass_on()
print(faults() - start)
"""
"""Counts the page faults of a hundred bulk reads, each copied twice."""


def page_faults(before: str) -> int:
    """How many page faults the reads cost a process that did something before."""
    argv = [sys.executable, "-c", BULK.format(before=before)]
    return int(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout)


class AllocatorTests(SynchronousTestCase):
    def test_large_blocks_are_kept(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            raise SkipTest("only the allocator of glibc learns")
        self.assertLess(page_faults("keep_large_blocks()"), 100)
        self.assertGreater(page_faults(""), 1000, "what freed blocks cost otherwise")
