"""The limit of descriptors, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

RAISE = """
import resource
from rtunnel.ops.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 4096))
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


class LimitTests(SynchronousTestCase):
    def limits(self, soft: int) -> list[str]:
        argv = [sys.executable, "-c", RAISE.format(soft=soft)]
        return subprocess.run(argv, capture_output=True, check=True, timeout=60, text=True).stdout.split()

    def test_raised(self) -> None:
        self.assertEqual(self.limits(256), ["4096", "4096", "4096"])

    def test_as_high_as_it_may_be(self) -> None:
        self.assertEqual(self.limits(4096), ["4096", "4096", "4096"])
