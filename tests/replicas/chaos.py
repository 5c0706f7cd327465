"""Chaos: every five seconds a part is killed, stopped, frozen or cut off, while visitors come and go."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import attrs

from tests.replicas.site import DATAGRAMS, PATIENCE, SECURE, Replica, Site
from tests.replicas.visitors import Datagrams, SecureVisits, Transfers
from tests.support.authority import Authority
from tests.support.load import Load
from tests.support.processes import Process, free_port, wait_until
from tests.support.services import DatagramEchoService, NamedService

__all__ = ["EVENTS", "Suffered", "suffer"]

PERIOD: Final = 5.0
"""Seconds from one event to the next; more if it takes longer until the part is there again."""
LASTING: Final = 2.0
"""Seconds until it is."""
SILENT: Final = 8.0
"""The same of a part that is cut off until the others have given it up."""
ASKED: Final = 1500
"""Requests at each server afterwards, to see the weights."""
WEIGHTS: Final = {"pod": 1, "laptop": 2, "desk": 3, "gost": 2}
"""The clients: that of the pod joins all servers, the others one; the last one is a gost, where there is one."""

ANYTHING: Final = 8.0
"""Seconds in which a part that is killed may make requests fail that it had, or that were on their way to it."""


@attrs.frozen
class Event:
    """What happens to a part.

    :ivar do: does it, to one of those that there are; returns what makes it whole again.
    :ivar explains: seconds after it in which a request may fail that had begun there; 0 for none.
    :ivar lasting: seconds until the part is made whole again.
    """

    do: Callable[[Chaos], Callable[[], None]]
    explains: float = 0.0
    lasting: float = LASTING


class Chaos:
    """A site with three servers and three clients.

    :param chance: chooses.
    """

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.weights = {name: weight for name, weight in WEIGHTS.items() if name != "gost" or os.environ.get("RTUNNEL_TEST_GOST")}
        self.targets = {name: NamedService(name) for name in self.weights}
        authority = Authority(site.folder / "ca")
        self.ca_file = authority.ca_file
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue(SECURE))
        self.secure = NamedService("secure", tls=context)
        self.echo = DatagramEchoService()
        self.datagrams_port = free_port(socket.SOCK_DGRAM)
        self.clients: dict[str, Process] = {}

    def begin(self) -> None:
        """Start the clients, and wait until everybody is there."""
        site = self.site
        for name in self.weights:
            self.join(name)
        for join in (site.sidecar, site.laptop):
            join(f"--tunnel={site.secure}", target=self.secure.port)
        site.datagram_clients(self.echo.port)
        site.wait_ready()
        site.datagram_visitor(self.datagrams_port)
        self.settle()

    def join(self, name: str) -> None:
        """Start a client."""
        weight, target = self.weights[name], self.targets[name].port
        if name == "gost":
            self.clients[name] = self.site.gost(weight, target)
        else:
            join = self.site.sidecar if name == "pod" else self.site.laptop
            self.clients[name] = join(f"--weight={weight}", target=target)

    def settle(self) -> None:
        """Wait until each server has all clients, each once."""

        def there() -> bool:
            try:
                return self.site.rows() == [len(self.weights)] * len(self.site.replicas)
            except AssertionError:
                return False

        wait_until(there, "each server has all clients, each once", PATIENCE)

    def close(self) -> None:
        """End the targets."""
        for target in (*self.targets.values(), self.secure):
            target.stop()
        self.echo.stop()

    # -- parts

    def server(self) -> Replica:
        """One of the servers."""
        return self.chance.choice(self.site.replicas)

    def laptop(self) -> str:
        """One of the clients that are attached to one server."""
        return self.chance.choice([name for name in self.weights if name != "pod"])


def _back(replica: Replica) -> None:
    replica.start()
    replica.wait_ready()


def _kill_server(chaos: Chaos) -> Callable[[], None]:
    replica = chaos.server()
    replica.kill()
    return lambda: _back(replica)


def _stop_server(chaos: Chaos) -> Callable[[], None]:
    replica = chaos.server()
    replica.stop()
    return lambda: _back(replica)


def _freeze_server(chaos: Chaos) -> Callable[[], None]:
    replica = chaos.server()
    replica.running.send(signal.SIGSTOP)
    return lambda: replica.running.send(signal.SIGCONT)


def _part_server(chaos: Chaos) -> Callable[[], None]:
    replica = chaos.server()
    replica.place.cut()
    return replica.place.mend


def _kill_client(chaos: Chaos) -> Callable[[], None]:
    name = chaos.chance.choice(list(chaos.weights))
    chaos.clients[name].send(signal.SIGKILL)
    return lambda: chaos.join(name)


def _stop_client(chaos: Chaos) -> Callable[[], None]:
    name = chaos.laptop()
    chaos.clients[name].send(signal.SIGTERM)
    return lambda: chaos.join(name)


def _freeze_redis(chaos: Chaos) -> Callable[[], None]:
    chaos.site.redis.pause()
    return chaos.site.redis.resume


def _kill_redis(chaos: Chaos) -> Callable[[], None]:
    chaos.site.redis.kill()
    return chaos.site.redis.start


def _flush_redis(chaos: Chaos) -> Callable[[], None]:
    chaos.site.redis.call("FLUSHALL")
    return lambda: None


EVENTS: Final = {
    "server killed": Event(_kill_server, ANYTHING),
    "server stopped": Event(_stop_server),
    "server frozen": Event(_freeze_server),
    "server cut off from the others": Event(_part_server, ANYTHING),
    "server cut off for longer": Event(_part_server, ANYTHING, SILENT),
    "client killed": Event(_kill_client, 1.0),
    "client stopped": Event(_stop_client),
    "Redis frozen": Event(_freeze_redis),
    "Redis killed": Event(_kill_redis),
    "Redis flushed": Event(_flush_redis),
}


@attrs.define
class Suffered:
    """What became of it.

    :ivar happened: how often each event.
    :ivar explained: failed requests by the event that explains them.
    :ivar succeeded: requests, transfers and TLS connections that went well.
    :ivar secure: of them the TLS connections.
    :ivar echoed: datagrams that came back.
    :ivar lost: datagrams that did not, as may happen to any.
    :ivar wrong: what must not be, one line each.
    """

    happened: Counter[str] = attrs.field(factory=Counter)
    explained: Counter[str] = attrs.field(factory=Counter)
    succeeded: int = 0
    secure: int = 0
    echoed: int = 0
    lost: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def table(self) -> str:
        """The events, and how many requests failed because of each."""
        rows = [f"{name:32} {self.happened[name]:6} {self.explained[name]:8}" for name in EVENTS if self.happened[name]]
        return "\n".join(
            [
                f"{'event':32} {'times':>6} {'failed':>8}",
                *rows,
                f"{self.succeeded} requests and transfers went well, {self.secure} of them TLS that is passed through",
                f"{self.echoed} datagrams were echoed, {self.lost} were lost",
            ]
        )


def suffer(
    seconds: float,
    seed: int,
    *,
    rate: float = 300.0,
    events: list[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Suffered:
    """Let one thing after the other happen.

    :param seed: of the choices.
    :param events: what happens, one after the other; by default anything.
    """
    suffered, log = Suffered(), list[tuple[float, str]]()
    chance = random.Random(seed)
    site = Site(3, apart=True)
    site.options = (f"--route={SECURE}={site.secure}", f"--route={DATAGRAMS}=${site.datagrams}")
    with site:
        say("servers are cut off from each other " + ("without a word" if site.replicas[0].place.silent else "by relays"))
        chaos = Chaos(site, chance)
        try:
            chaos.begin()
            end = time.monotonic() + seconds
            with (
                Load(site.port, "pod.local", rate=rate) as load,
                Transfers(site.port, 20 << 20, 1.0) as transfers,
                SecureVisits(site, str(chaos.ca_file)) as secure,
                Datagrams(chaos.datagrams_port) as datagrams,
            ):
                for name in events or _any(chance, end):
                    begun = time.monotonic()
                    log.append((begun, name))
                    suffered.happened[name] += 1
                    heal = EVENTS[name].do(chaos)
                    time.sleep(EVENTS[name].lasting)
                    heal()
                    chaos.settle()
                    echoed = datagrams.echoed
                    wait_until(lambda: datagrams.echoed > echoed, f"datagrams are echoed again after: {name}", PATIENCE)  # noqa: B023
                    took = time.monotonic() - begun
                    say(f"{name}: whole again after {took:.1f} s, {len(load.failed)} of {load.total} failed so far")
                    time.sleep(max(0.0, begun + PERIOD - time.monotonic()))
            failed = sorted([*load.failed, *_struck([*transfers.broken, *secure.broken], log)])
            suffered.succeeded = len(load.succeeded) + transfers.done + secure.done
            suffered.secure, suffered.echoed, suffered.lost = secure.done, datagrams.echoed, datagrams.lost
            suffered.wrong += _unexplained(failed, log, suffered.explained)
            suffered.wrong += _weights(chaos)
        finally:
            chaos.close()
    suffered.wrong += site.faults
    return suffered


def _any(chance: random.Random, end: float) -> Iterator[str]:
    while time.monotonic() < end:
        yield chance.choice(list(EVENTS))


def _struck(broken: list[tuple[float, float, str]], log: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """When transfers were struck: at the last event while they were in progress, and not when they noticed."""
    return [(max([began, *(at for at, _ in log if began <= at <= noticed)]), how) for began, noticed, how in broken]


def _unexplained(failed: list[tuple[float, str]], log: list[tuple[float, str]], explained: Counter[str]) -> list[str]:
    """Those that no event explains."""
    wrong = []
    for when, how in failed:
        causes = [name for begun, name in log if begun <= when <= begun + EVENTS[name].explains]
        if causes:
            explained[causes[-1]] += 1
        else:
            before = [f"{when - begun:.2f} s after: {name}" for begun, name in log if begun <= when][-1:]
            wrong.append(f"not explained: {how}, {', '.join(before)}")
    return wrong


def _weights(chaos: Chaos) -> list[str]:
    """Where the weights are not those of the clients."""
    wrong = []
    whole = sum(chaos.weights.values())
    for replica in chaos.site.replicas:
        with ThreadPoolExecutor(8) as visitors:
            answers = Counter(body.decode() for _, body in visitors.map(lambda _: chaos.site.ask(replica), range(ASKED)))  # noqa: B023
        for name, weight in chaos.weights.items():
            share = weight / whole
            deviation = (ASKED * share * (1 - share)) ** 0.5
            wanted = ASKED * share
            if abs(answers[name] - wanted) > 5 * deviation:
                wrong.append(f"server {replica.number}: {name} got {answers[name]} of {ASKED} requests, not about {wanted:.0f}")
    return wrong
