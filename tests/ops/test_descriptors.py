"""The limit of descriptors, in a process of its own."""

from __future__ import annotations

import resource
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from rtunnel.ops.descriptors import RESERVE, Shares, current_limit

RAISE = """
import resource
from rtunnel.ops.descriptors import raise_limit
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 4096))
print(raise_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


class SharesTests(SynchronousTestCase):
    def test_all_fit(self) -> None:
        """Whatever is wanted, there are descriptors for it, and some for both."""
        for limit in (1, 64, 65, 256, 1024, 4096, 1_048_576):
            for visitors in (None, 1, 100, 10_000_000):
                for clients in (None, 1, 100, 10_000_000):
                    shares = Shares.of(limit, visitors, clients)
                    self.assertGreater(min(shares.visitors, shares.clients), 0)
                    if limit > RESERVE + 4:
                        self.assertLessEqual(shares.visitors + shares.clients + RESERVE, limit)

    def test_current(self) -> None:
        self.assertEqual(current_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])


class LimitTests(SynchronousTestCase):
    def limits(self, soft: int) -> list[str]:
        argv = [sys.executable, "-c", RAISE.format(soft=soft)]
        return subprocess.run(argv, capture_output=True, check=True, timeout=60, text=True).stdout.split()

    def test_raised(self) -> None:
        self.assertEqual(self.limits(256), ["4096", "4096", "4096"])

    def test_as_high_as_it_may_be(self) -> None:
        self.assertEqual(self.limits(4096), ["4096", "4096", "4096"])
