"""A machine that can be cut off: a network namespace, whose packets nftables drops in both directions without a word."""

from __future__ import annotations

import itertools
import os
import subprocess
from unittest import SkipTest

from tests.support.processes import needed

__all__ = ["Machine"]

_numbers = itertools.count()

_NAT = """
table ip nat {{
    chain after {{ type nat hook postrouting priority 100; oifname "{device}" meta l4proto tcp masquerade to :{first}-{last}; }}
}}
table inet known {{
    chain input {{ type filter hook input priority 0; iifname "{device}" ct state != established drop; }}
}}
"""

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
        self._device = far
        self._addresses = tuple(f"{subnet}{number * 4 + last}" for last in (2, 3))
        self._translates = False
        self._run(ip, "netns", "add", self._name)
        try:
            self._run(ip, "link", "add", near, "type", "veth", "peer", "name", far)
            self._run(ip, "link", "set", far, "netns", self._name)
            # not a /30: its last address is one that the machine can move to
            self._run(ip, "addr", "add", f"{self.gateway}/32", "dev", near)
            self._run(ip, "link", "set", near, "up")
            self._run(*self.prefix, ip, "addr", "add", f"{self._addresses[0]}/32", "dev", far)
            for device in (far, "lo"):
                self._run(*self.prefix, ip, "link", "set", device, "up")
            self._route()
            for address in self._addresses:
                self._run(ip, "route", "add", f"{address}/32", "dev", near)
        except SkipTest:
            self.close()
            raise

    def cut(self) -> None:
        """Drop every packet from now on."""
        self._run(*self.prefix, self._nft, "-f", "-", text=_DROP)

    def heal(self) -> None:
        """Let them through again."""
        self._run(*self.prefix, self._nft, "delete", "table", "inet", "cut")

    def move(self) -> None:
        """Have another address from now on, and not the one before."""
        before, now = self._addresses
        self._run(*self.prefix, self._ip, "addr", "del", f"{before}/32", "dev", self._device)
        self._run(*self.prefix, self._ip, "addr", "add", f"{now}/32", "dev", self._device)
        self._route()

    def translate(self, first: int, last: int) -> None:
        """Translate addresses, with some ports; the connections that were translated before are forgotten."""
        if self._translates:
            for family, table in (("ip", "nat"), ("inet", "known")):
                self._run(*self.prefix, self._nft, "delete", "table", family, table)
            # masquerading forgets what went through a device that goes down
            for state in ("down", "up"):
                self._run(*self.prefix, self._ip, "link", "set", self._device, state)
            self._route()
        self._translates = True
        self._run(*self.prefix, self._nft, "-f", "-", text=_NAT.format(device=self._device, first=first, last=last))

    def _route(self) -> None:
        """The way to the gateway."""
        self._run(*self.prefix, self._ip, "route", "replace", f"{self.gateway}/32", "dev", self._device)

    def close(self) -> None:
        """Remove it; its cable goes with it, once no process is left there."""
        subprocess.run([self._ip, "netns", "del", self._name], capture_output=True, check=False)

    def _run(self, *argv: str, text: str = "") -> None:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"{' '.join(argv)}: {done.stderr.strip()}")
