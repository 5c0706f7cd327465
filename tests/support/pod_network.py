"""A pod and the services that only it reaches: two network namespaces, with a cable between them and one from the pod to here."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import SkipTest

from tests.support.processes import ROOT, Process, needed

__all__ = ["PodNetwork"]

_numbers = itertools.count()
DOMAIN = "shop.svc.cluster.local"


class PodNetwork:
    """The two namespaces; closed by :meth:`close`.

    :ivar gateway: the address of this machine, as the pod sees it.
    :ivar pod: the address of the pod, as the services see it.
    :ivar addresses: of the services, by name; nobody but the pod has a way there.
    :raises SkipTest: where no namespaces can be made.
    """

    def __init__(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("network namespaces need root")
        self._ip = needed("ip")
        number = next(_numbers) % 16
        self._pod, self._services = (f"rtp{os.getpid()}{kind}{number}" for kind in "ps")
        inside = f"10.{100 + os.getpid() % 50}.{os.getpid() // 50 % 250}."
        outside = f"10.{150 + os.getpid() % 50}.{os.getpid() // 50 % 250}."
        first = number * 8
        self.gateway, near = f"{outside}{number * 4 + 1}", f"{outside}{number * 4 + 2}"
        self.pod = f"{inside}{first + 1}"
        self.addresses = {name: f"{inside}{first + 2 + at}" for at, name in enumerate(("dns", "postgres", "redis", "web"))}
        self._files = Path("/etc/netns") / self._pod
        try:
            for name in (self._pod, self._services):
                self._run(self._ip, "netns", "add", name)
                self._in(name, "link", "set", "lo", "up")
            self._cable(None, self.gateway, self._pod, near)
            self._cable(self._pod, self.pod, self._services, *self.addresses.values())
            self._files.mkdir(parents=True)
            search = f"search {DOMAIN} svc.cluster.local cluster.local\n"
            options = "options ndots:5 timeout:1 attempts:1\n"
            (self._files / "resolv.conf").write_text(f"nameserver {self.addresses['dns']}\n{search}{options}")
        except (SkipTest, OSError):
            self.close()
            raise

    def _cable(self, at: str | None, near: str, other: str, *far: str) -> None:
        """A cable between two namespaces, or from this one, with the addresses of its ends."""
        one, two = (f"rp{os.getpid()}{next(_numbers)}" for _ in range(2))
        self._run(self._ip, "link", "add", one, "type", "veth", "peer", "name", two)
        self._run(self._ip, "link", "set", two, "netns", other)
        if at is not None:
            self._run(self._ip, "link", "set", one, "netns", at)
        for name, device, addresses, others in ((at, one, (near,), far), (other, two, far, (near,))):
            for address in addresses:
                self._in(name, "addr", "add", f"{address}/32", "dev", device)
            self._in(name, "link", "set", device, "up")
            for address in others:
                self._in(name, "route", "add", f"{address}/32", "dev", device)

    def _in(self, name: str | None, *words: str) -> None:
        self._run(self._ip, *(() if name is None else ("-n", name)), *words)

    def in_pod(self, *argv: str, **more: object) -> Process:
        """Start a process in the pod, with the pod's DNS."""
        return Process([self._ip, "netns", "exec", self._pod, *argv], **more)  # type: ignore[arg-type]

    def at_services(self, *argv: str) -> Process:
        """Start a process where the services are."""
        return Process([self._ip, "netns", "exec", self._services, *argv])

    def serve(self, names: dict[str, str]) -> Process:
        """Start the DNS, and an HTTP service at ``web``, ports 80 and 8080.

        :param names: of the domain :data:`DOMAIN`, with their addresses.
        """
        pairs = [f"{name}={address}" for name, address in {**self.addresses, **names}.items()]
        script = str(ROOT / "tests" / "support" / "pod_services.py")
        return self.at_services(sys.executable, script, self.addresses["dns"], self.addresses["web"], DOMAIN, *pairs)

    def close(self) -> None:
        """Remove them; their cables go with them, once no process is left there."""
        for name in (self._pod, self._services):
            subprocess.run([self._ip, "netns", "del", name], capture_output=True, check=False)
        shutil.rmtree(self._files, ignore_errors=True)

    def _run(self, *argv: str) -> None:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SkipTest(f"{' '.join(argv)}: {done.stderr.strip()}")
