"""Strangers that use up what they can: what it costs the server, its clients and the other visitors while it goes on."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Sequence
from secrets import token_hex
from statistics import median, quantiles
from threading import Event, Thread
from time import sleep
from uuid import UUID, uuid4

from attrs import define, frozen

from tests.faults.attackers import Aim, log_in
from tests.faults.load import Load, Request, fetch
from tests.faults.parties import OURS, Party
from tests.faults.site import AUTH, HOST, POD, Site
from tests.faults.usage import MIB, Usage, Watch
from tests.process.test_users import user_line
from tests.support.processes import LOOPBACK, Process, free_port, python_path

__all__ = ["ATTACKS", "Attack", "Cost", "run"]

CALM = 2.0
"""Seconds of requests before the attack, to compare with."""
AFTER = 1.0
"""Seconds until the memory is looked at once more."""


@frozen
class Attack:
    """One attack, and what it may cost.

    :param name: of the program in :mod:`tests.faults.attackers`.
    :param title: what it does.
    :param growth: MiB that the memory of the server may grow.
    :param wait: seconds within which 99 of 100 of the other visitors' requests must be answered.
    :param shared: whether it comes from the address of the others, as behind an Ingress.
    :param closed: how many connections of it the server must have closed meanwhile because they are too slow.
    :param descriptors: of the server; None for as many as it gets.
    :param client_descriptors: of the client.
    """

    name: str
    title: str
    seconds: float = 8.0
    growth: float = 30.0
    wait: float = 0.1
    shared: bool = False
    closed: int = 0
    descriptors: int | None = None
    client_descriptors: int | None = None


@define
class Cost:
    """What one attack cost.

    :ivar before: the server and the client before it.
    :ivar peaks: their highest values while it went on.
    :ivar calm: the others' requests before it.
    :ivar others: the others' requests while it went on.
    :ivar logins: what a client with a password that is known got, each half second.
    :ivar probes: what ``/livez`` got, as often.
    :ivar closed: how many connections were closed because they were too slow.
    :ivar lost: how often the joined client lost its link.
    :ivar answered: whether the server that was there before answers after it.
    """

    attack: Attack
    before: list[Usage]
    peaks: list[Usage]
    calm: list[Request]
    others: list[Request]
    logins: Counter[str]
    probes: Counter[str]
    closed: int
    lost: int
    answered: bool

    @property
    def growth(self) -> list[float]:
        """MiB by which the memory of server and client grew."""
        return [(peak.resident - before.resident) / MIB for peak, before in zip(self.peaks, self.before, strict=True)]

    @property
    def failed(self) -> int:
        """How many requests of others failed."""
        return sum(bool(request.failure) for request in self.others)

    @property
    def missed(self) -> list[str]:
        """The goals that were not reached."""
        goals = {
            "memory": self.growth[0] <= self.attack.growth,
            "p99": p99(self.others) <= self.attack.wait,
            "failed": not self.failed,
            "closed": self.closed >= self.attack.closed,
            "logins": set(self.logins) == {"ok"},
            "probes": set(self.probes) == {"ok"},
            "link lost": not self.lost,
            "dead": self.answered,
        }
        return [goal for goal, reached in goals.items() if not reached]


def p50(requests: Sequence[Request]) -> float:
    """The median wait, in seconds."""
    return median(request.waited for request in requests)


def p99(requests: Sequence[Request]) -> float:
    """The wait of the 99th of 100, in seconds."""
    return quantiles((request.waited for request in requests), n=100, method="inclusive")[-1]


class _Regulars:
    """Who was in before comes again twice a second: a client logs in, and somebody asks whether the server lives."""

    def __init__(self, aim: Aim, admin: int) -> None:
        self.logins: Counter[str] = Counter()
        self.probes: Counter[str] = Counter()
        self._aim, self._admin = aim, admin
        self._over = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._come()), daemon=True)
        self._thread.start()

    async def _come(self) -> None:
        while not self._over.is_set():
            self.logins[await log_in(self._aim)] += 1
            probe = await fetch(self._admin, LOOPBACK, path="/livez", patience=2)
            self.probes[probe.failure or "ok"] += 1
            await asyncio.sleep(0.5)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


def run(attack: Attack, party: Party = OURS, seconds: float | None = None, calm: float = CALM) -> Cost:
    """Run one attack.

    :param seconds: how long, instead of its own time.
    :param calm: how long others are watched before it.
    """
    admin, sink, regular = free_port(), uuid4(), uuid4()
    with Site(
        party,
        weight=1,
        rules={".wild.local": None, "sink.local": str(sink), "regular.local": str(regular)},
        users=user_line(*AUTH.split(":")),
        descriptors=attack.descriptors,
        client_descriptors=attack.client_descriptors,
        server=("--admin", f"{LOOPBACK}:{admin}"),
    ) as site:
        aim = Aim(site.entrypoint, site.listen, regular, tuple(AUTH.split(":")), LOOPBACK, key=token_hex(32))  # type: ignore[arg-type]
        # what a login needs for the first time is not the attack's
        asyncio.run(log_in(aim))
        load = Load(site.entrypoint, HOST, rate=25, patience=10, methods=("GET",))
        sleep(calm)
        undisturbed = load.stop()
        pids = [site.server.pid, site.clients[POD].pid]
        before = [Usage.of(pid) for pid in pids]
        watch, regulars = Watch(pids), _Regulars(aim, admin)
        load = Load(site.entrypoint, HOST, rate=25, patience=10, methods=("GET",))
        source = LOOPBACK if attack.shared else ""
        try:
            with _attacker(attack.name, site, sink, seconds or attack.seconds, source) as attacker:
                attacker.wait((seconds or attack.seconds) + 20)
            sleep(AFTER)
        finally:
            others = load.stop()
            regulars.stop()
            peaks = watch.stop()
        return Cost(
            attack=attack,
            before=before,
            peaks=peaks,
            calm=undisturbed,
            others=others,
            logins=regulars.logins,
            probes=regulars.probes,
            closed=too_slow(admin),
            lost=site.clients[POD].output.count("joined tunnel") - 1,
            answered=site.serves(POD),
        )


def too_slow(admin: int) -> int:
    """How many visitors were told that their request took too long."""
    metrics = asyncio.run(fetch(admin, LOOPBACK, path="/metrics")).body.decode()
    (line,) = (line for line in metrics.splitlines() if line.startswith('rtunnel_server_requests_total{outcome="request_timeout"}'))
    return int(float(line.split()[-1]))


def _attacker(name: str, site: Site, sink: UUID, seconds: float, source: str) -> Process:
    ports = ("--entrypoint", str(site.entrypoint), "--listen", str(site.listen), "--tunnel", str(sink))
    where = ("--source", source) if source else ()
    return Process(
        [sys.executable, "-m", "tests.faults.attackers", name, *ports, "--seconds", str(seconds), *where],
        env={"PYTHONPATH": python_path(), "RTUNNEL_AUTH": AUTH},
    )


ATTACKS = [
    Attack("text-frames", "70 text frames of 16 MiB before a login"),
    Attack("pipelined", "requests pipelined for an unknown host, answers not read"),
    Attack("many-hosts", "a new host with each request, a client with 1024 descriptors", client_descriptors=1024),
    # a password is verified with 19 MiB, as Argon2id is meant to be used, one at a time
    Attack("guesses", "wrong passwords from the address of the others", shared=True),
    Attack("readers", "20 visitors that read nothing of 100 MB"),
    Attack("closing-readers", "the same with Connection: close"),
    Attack("pings", "pings before a login, pongs not read"),
    Attack("syns", "a client floods its link with SYN"),
    Attack("connections", "400 connections held, a server with 256 descriptors", descriptors=256),
    Attack("spread-connections", "the same from 20 addresses", descriptors=256),
    Attack("upgrades", "Upgrade at a service that hangs, 60 a second"),
    Attack("deaf-connector", "a client that reads nothing, 50 visitors that upload to it"),
    # longer than the time for a head
    Attack("slow", "500 connections of a byte a second", seconds=20, wait=1.0, closed=500),
    Attack("hostile", "600 hostile inputs", seconds=30, growth=10),
]
