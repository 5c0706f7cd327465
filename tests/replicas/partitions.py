"""Where the servers of a site run, so that each can be cut off from the others: in network namespaces, else behind relays.

In a namespace of its own a server is reached by everybody over a bridge. When it is cut off, what it sends to the other servers
goes nowhere, and nobody is told: connections just become silent. Namespaces need root; without, peers reach each other through
relays on loopback, which end connections and let none through.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from contextlib import suppress
from typing import Protocol

from tests.replicas.relay import Relay
from tests.support.processes import LOOPBACK

__all__ = ["Namespaces", "Place", "Relays", "make_places", "relays"]

_numbers = itertools.count()


class Place(Protocol):
    """Where one server runs.

    :ivar host: the address of its ports.
    :ivar listen: the address at which clients reach it, another one for each server.
    :ivar prefix: what its command begins with.
    :ivar silent: whether those that are cut off are not told.
    """

    host: str
    listen: str
    prefix: tuple[str, ...]
    silent: bool

    def peer_address(self, port: int) -> str:
        """What others are told of the port for peers."""

    def cut(self) -> None:
        """Cut it off from the others."""

    def mend(self) -> None:
        """Let them reach each other again."""

    def close(self) -> None:
        """It is not needed any more."""


class Relays:
    """Loopback, and a relay before the port for peers.

    :param number: of the server.
    """

    host = LOOPBACK
    prefix: tuple[str, ...] = ()
    silent = False

    def __init__(self, number: int) -> None:
        self.listen = f"127.0.1.{number}"
        self._relay: Relay | None = None

    def peer_address(self, port: int) -> str:
        if self._relay is None:
            self._relay = Relay(port)
        return f"{LOOPBACK}:{self._relay.port}"

    def cut(self) -> None:
        if self._relay is not None:
            self._relay.cut()

    def mend(self) -> None:
        if self._relay is not None:
            self._relay.mend()

    def close(self) -> None:
        if self._relay is not None:
            self._relay.close()


class Namespaces:
    """Namespaces for some servers, and a bridge between them and this one.

    :param count: how many.
    :raises OSError: none can be made.
    """

    def __init__(self, count: int) -> None:
        ip = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if ip is None or os.geteuid() != 0:
            raise OSError("network namespaces need root, and the program ip")
        self._ip = ip
        number = next(_numbers) % 10
        self._bridge = f"rtb{os.getpid()}{number}"
        # addresses for benchmarks (RFC 2544), which nobody has
        self._net = f"198.18.{os.getpid() % 250}."
        first = number * 20 + 1
        self.places: list[_Namespace] = []
        try:
            self._run("link", "add", self._bridge, "type", "bridge")
            self._run("addr", "add", f"{self._net}{first}/24", "dev", self._bridge)
            self._run("link", "set", self._bridge, "up")
            for server in range(1, count + 1):
                self._add(f"rtr{os.getpid()}{number}{server}", f"{self._net}{first + server}")
        except OSError:
            self.close()
            raise

    def _add(self, name: str, address: str) -> None:
        self._run("netns", "add", name)
        self.places.append(_Namespace(self, name, address))
        near, far = f"v{name[3:]}a", f"v{name[3:]}b"
        self._run("link", "add", near, "type", "veth", "peer", "name", far)
        self._run("link", "set", far, "netns", name)
        self._run("link", "set", near, "master", self._bridge)
        self._run("link", "set", near, "up")
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{address}/24", "dev", far), ("link", "set", far, "up")):
            self._run("-n", name, *words)

    def routes(self, do: str, place: _Namespace) -> None:
        """Add or delete what has a server's words to the others go nowhere."""
        for other in self.places:
            if other is not place:
                self._run("-n", place.name, "route", do, "blackhole", f"{other.host}/32")

    def close(self) -> None:
        """Remove all."""
        places, self.places = self.places, []
        for place in places:
            with suppress(OSError):
                self._run("netns", "del", place.name)
        with suppress(OSError):
            self._run("link", "del", self._bridge)

    def _run(self, *words: str) -> None:
        done = subprocess.run([self._ip, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class _Namespace:
    """The place of one server."""

    silent = True

    def __init__(self, owner: Namespaces, name: str, address: str) -> None:
        self._owner = owner
        self.name = name
        self.host = self.listen = address
        self.prefix: tuple[str, ...] = (owner._ip, "netns", "exec", name)

    def peer_address(self, port: int) -> str:
        return f"{self.host}:{port}"

    def cut(self) -> None:
        self._owner.routes("add", self)

    def mend(self) -> None:
        self._owner.routes("del", self)

    def close(self) -> None:
        self._owner.close()


def make_places(count: int) -> list[Place]:
    """The places of some servers: namespaces where that is possible."""
    try:
        return list(Namespaces(count).places)
    except OSError:
        return relays(count)


def relays(count: int) -> list[Place]:
    """The places of some servers on loopback."""
    return [Relays(number) for number in range(1, count + 1)]
