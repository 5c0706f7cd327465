"""A machine that can be cut off: a network namespace, whose packets nftables drops in both directions without a word."""

from __future__ import annotations

import itertools
import os
import subprocess
from unittest import SkipTest

from tests.support.processes import needed

__all__ = ["Machine"]

_numbers = itertools.count()

_DROP = """
table inet cut {
    chain input { type filter hook input priority 0; iifname != "lo" drop; }
    chain output { type filter hook output priority 0; oifname != "lo" drop; }
}
"""


class Machine:
    """A namespace with one cable to this machine; closed by :meth:`close`.

    :ivar gateway: the address of this machine, as seen from there.
    :ivar prefix: the words before a command that runs there.
    :raises SkipTest: where no namespaces can be made.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("network namespaces need root")
        ip, self._nft = needed("ip"), needed("nft")
        number = next(_numbers) % 64
        self._name = f"rtf{os.getpid()}n{number}"
        self._ip = ip
        subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}."
        self.gateway = f"{subnet}{number * 4 + 1}"
        self.prefix = (ip, "netns", "exec", self._name)
        near, far = f"rf{os.getpid()}a{number}", f"rf{os.getpid()}b{number}"
        self._run(ip, "netns", "add", self._name)
        try:
            self._run(ip, "link", "add", near, "type", "veth", "peer", "name", far)
            self._run(ip, "link", "set", far, "netns", self._name)
            self._run(ip, "addr", "add", f"{self.gateway}/30", "dev", near)
            self._run(ip, "link", "set", near, "up")
            self._run(*self.prefix, ip, "addr", "add", f"{subnet}{number * 4 + 2}/30", "dev", far)
            for device in (far, "lo"):
                self._run(*self.prefix, ip, "link", "set", device, "up")
        except SkipTest:
            self.close()
            raise

    def cut(self) -> None:
        """Drop every packet from now on."""
        self._run(*self.prefix, self._nft, "-f", "-", text=_DROP)

    def heal(self) -> None:
        """Let them through again."""
        self._run(*self.prefix, self._nft, "delete", "table", "inet", "cut")

    def close(self) -> None:
        """Remove it; its cable goes with it, once no process is left there."""
        subprocess.run([self._ip, "netns", "del", self._name], capture_output=True, check=False)

    def _run(self, *argv: str, text: str = "") -> None:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"{' '.join(argv)}: {done.stderr.strip()}")
