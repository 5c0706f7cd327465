"""Chaos: every five seconds a part is killed, stopped, frozen or cut off, while visitors come and go."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import attrs

from tests.replicas.site import PATIENCE, Replica, Site
from tests.replicas.visitors import Transfers
from tests.support.load import Load
from tests.support.processes import Process, wait_until
from tests.support.services import NamedService

__all__ = ["EVENTS", "Suffered", "suffer"]

PERIOD: Final = 5.0
"""Seconds from one event to the next; more if it takes longer until the part is there again."""
LASTING: Final = 2.0
"""Seconds until it is."""
ASKED: Final = 1500
"""Requests at each server afterwards, to see the weights."""
WEIGHTS: Final = {"pod": 1, "laptop": 2, "desk": 3}
"""The clients: that of the pod joins all servers, the others one."""

ANYTHING: Final = 8.0
"""Seconds in which a part that is killed may make requests fail that it had, or that were on their way to it."""


@attrs.frozen
class Event:
    """What happens to a part.

    :ivar do: does it, to one of those that there are; returns what makes it whole again.
    :ivar explains: seconds after it in which a request may fail that had begun there; 0 for none.
    """

    do: Callable[[Chaos], Callable[[], None]]
    explains: float = 0.0


class Chaos:
    """A site with three servers and three clients.

    :param chance: chooses.
    """

    def __init__(self, site: Site, chance: random.Random) -> None:
        self.site = site
        self.chance = chance
        self.targets = {name: NamedService(name) for name in WEIGHTS}
        self.clients: dict[str, Process] = {}

    def begin(self) -> None:
        """Start the clients, and wait until everybody is there."""
        for name in WEIGHTS:
            self.join(name)
        self.site.wait_ready()
        self.settle()

    def join(self, name: str) -> None:
        """Start a client."""
        join = self.site.sidecar if name == "pod" else self.site.laptop
        self.clients[name] = join(f"--weight={WEIGHTS[name]}", target=self.targets[name].port)

    def settle(self) -> None:
        """Wait until each server has all clients, each once."""

        def there() -> bool:
            try:
                return self.site.rows() == [len(WEIGHTS)] * len(self.site.replicas)
            except AssertionError:
                return False

        wait_until(there, "each server has all clients, each once", PATIENCE)

    def close(self) -> None:
        """End the targets."""
        for target in self.targets.values():
            target.stop()

    # -- parts

    def server(self) -> Replica:
        """One of the servers."""
        return self.chance.choice(self.site.replicas)

    def laptop(self) -> str:
        """One of the clients that are attached to one server."""
        return self.chance.choice([name for name in WEIGHTS if name != "pod"])


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
    replica.relay.cut()
    return replica.relay.mend


def _kill_client(chaos: Chaos) -> Callable[[], None]:
    name = chaos.chance.choice(list(WEIGHTS))
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
    "server cut off from the others": Event(_part_server, 1.0),
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
    :ivar succeeded: requests and transfers that went well.
    :ivar wrong: what must not be, one line each.
    """

    happened: Counter[str] = attrs.field(factory=Counter)
    explained: Counter[str] = attrs.field(factory=Counter)
    succeeded: int = 0
    wrong: list[str] = attrs.field(factory=list)

    def table(self) -> str:
        """The events, and how many requests failed because of each."""
        rows = [f"{name:32} {self.happened[name]:6} {self.explained[name]:8}" for name in EVENTS if self.happened[name]]
        return "\n".join([f"{'event':32} {'times':>6} {'failed':>8}", *rows, f"{self.succeeded} requests and transfers went well"])


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
    with Site(3) as site:
        chaos = Chaos(site, chance)
        try:
            chaos.begin()
            end = time.monotonic() + seconds
            with Load(site.port, "pod.local", rate=rate) as load, Transfers(site.port, 20 << 20, 1.0) as transfers:
                for name in events or _any(chance, end):
                    begun = time.monotonic()
                    log.append((begun, name))
                    suffered.happened[name] += 1
                    heal = EVENTS[name].do(chaos)
                    time.sleep(LASTING)
                    heal()
                    chaos.settle()
                    took = time.monotonic() - begun
                    say(f"{name}: whole again after {took:.1f} s, {len(load.failed)} of {load.total} failed so far")
                    time.sleep(max(0.0, begun + PERIOD - time.monotonic()))
            failed = sorted([*load.failed, *_struck(transfers.broken, log)])
            suffered.succeeded = len(load.succeeded) + transfers.done
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
    whole = sum(WEIGHTS.values())
    for replica in chaos.site.replicas:
        with ThreadPoolExecutor(8) as visitors:
            answers = Counter(body.decode() for _, body in visitors.map(lambda _: chaos.site.ask(replica), range(ASKED)))  # noqa: B023
        for name, weight in WEIGHTS.items():
            share = weight / whole
            deviation = (ASKED * share * (1 - share)) ** 0.5
            wanted = ASKED * share
            if abs(answers[name] - wanted) > 5 * deviation:
                wrong.append(f"server {replica.number}: {name} got {answers[name]} of {ASKED} requests, not about {wanted:.0f}")
    return wrong
