"""Memory that is freed and used again, in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from rtunnel.ops.memory import memory_limit

BULK = """
import resource
from rtunnel.ops.memory import keep_large_blocks
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

    def test_freed_memory_is_returned(self) -> None:
        if platform.libc_ver()[0] != "glibc":
            raise SkipTest("only the allocator of glibc keeps it")
        self.assertGreater(kept(""), 60, "what stays otherwise")
        self.assertLess(kept("return_freed_memory()"), 12, "what the next large blocks take")


FREED = """
from rtunnel.ops.memory import keep_large_blocks, resident_memory, return_freed_memory
keep_large_blocks()
before = resident_memory()
# each large block is followed by one that stays
blocks = [(bytearray(1 << 20), bytes(1000)) for _ in range(80)]
stay = [small for _, small in blocks]
del blocks
{after}
print(resident_memory() - before)
"""


def kept(after: str) -> float:
    """MiB that a process has after 80 of them were freed, and it did something."""
    argv = [sys.executable, "-c", FREED.format(after=after)]
    return int(subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout) / 2**20


CYCLES = """
import gc
from rtunnel.ops.memory import collect_rarely
{before}
class Node:
    pass
start = sum(generation["collections"] for generation in gc.get_stats())
alive = [Node() for _ in range(15_000)]
for _ in range(15_000):
    one, other = Node(), Node()
    one.other, other.other = other, one
times = sum(generation["collections"] for generation in gc.get_stats()) - start
print(times, sum(isinstance(one, Node) for one in gc.get_objects()))
"""
"""Makes objects that stay and cycles that do not; counts the collections, and what is still there."""


def collections(before: str) -> tuple[int, int]:
    """How often a process that did something before collected, and how many of the objects are left."""
    argv = [sys.executable, "-c", CYCLES.format(before=before)]
    times, left = subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout.split()
    return int(times), int(left)


class CollectorTests(SynchronousTestCase):
    def test_rarely_but_still(self) -> None:
        """What is in use does not set the collector off; cycles are still found, and bounded in number."""
        rare, left = collections("collect_rarely()")
        often, _ = collections("")
        self.assertGreater(rare, 0)
        self.assertLess(rare * 5, often)
        self.assertLess(left, 15_000 + 25_000)


class LimitTests(SynchronousTestCase):
    """How much memory there is."""

    def system(self, files: dict[str, str]) -> int:
        """The limit on a system with these files."""
        root = Path(self.mktemp())
        for name, text in files.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return memory_limit(root)

    def test_machine(self) -> None:
        self.assertEqual(self.system({}), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        self.assertGreater(self.system({}), 1 << 20)

    def test_container(self) -> None:
        """A container sees its own group as the root."""
        self.assertEqual(self.system({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "67108864\n"}), 64 << 20)
        self.assertEqual(
            self.system({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}),
            self.system({}),
        )

    def test_service(self) -> None:
        """The smallest limit of all groups that the process is in."""
        files = {
            "proc/self/cgroup": "0::/system.slice/rtunnel.service\n",
            "sys/fs/cgroup/system.slice/memory.max": "50000000",
            "sys/fs/cgroup/system.slice/rtunnel.service/memory.max": "60000000",
        }
        self.assertEqual(self.system(files), 50_000_000)

    def test_version_1(self) -> None:
        files = {
            "proc/self/cgroup": "5:cpu,cpuacct:/\n4:memory:/docker/abc\n",
            "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": "70000000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        }
        self.assertEqual(self.system(files), 70_000_000)
