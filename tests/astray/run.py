"""One run: the laptops come and go while the clients send requests; each answer is judged by who was there."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from random import Random
from threading import Lock, Thread
from typing import Final

from attrs import define, field

from tests.astray.clients import Client, Result
from tests.astray.heads import FILTERS, HEADS, SHARING, Head
from tests.support.processes import Process, wait_until

__all__ = ["CHANGES", "Astray", "Run", "Stay"]

TOLERANCE: Final = 0.05
"""Seconds by which clocks that are read in different processes may differ."""
AWAY: Final = 20
"""Requests of each client at least while somebody is away."""
Change = tuple[str, signal.Signals]
CHANGES: Final[tuple[Change, ...]] = (
    ("bob", signal.SIGTERM),
    ("carol", signal.SIGTERM),
    ("dave", signal.SIGTERM),
    ("bob", signal.SIGKILL),
    ("carol", signal.SIGKILL),
    ("dave", signal.SIGKILL),
)
"""Who leaves, and how; afterwards they join again. Alice stays."""


@define
class Stay:
    """How long somebody was there: surely between the two in the middle, perhaps between the outer ones.

    :ivar killed: whether it was killed, so that requests may be lost.
    """

    coming: float
    here: float = float("inf")
    leaving: float = float("inf")
    gone: float = float("inf")
    killed: bool = False

    def surely(self, start: float, end: float) -> bool:
        """Whether they were there all the time."""
        return self.here <= start and end <= self.leaving

    def perhaps(self, start: float, end: float) -> bool:
        """Whether they may have been there at some time."""
        return self.coming <= end and start <= self.gone


@define
class Astray:
    """What a run came to.

    :ivar counts: requests by client and by who answered.
    :ivar certain: how many of them only one could have answered, or only those that share by weight.
    :ivar lost: requests without a response, or with one of the server, of those who were killed meanwhile.
    :ivar wrong: those that others answered, or that nobody has answered though nobody was killed.
    """

    counts: Counter[tuple[str, str]] = field(factory=Counter)
    certain: int = 0
    lost: list[Result] = field(factory=list)
    wrong: list[Result] = field(factory=list)

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.counts.values())


class Run:
    """A run.

    :param join: starts the client of somebody, who has joined when it returns; None for the pod, which is there.
    :param left: waits until the server knows that somebody has left, given how often somebody has so far.
    :param seed: of the order of the requests.
    """

    def __init__(self, join: Callable[[str], Process], left: Callable[[int], None], seed: int) -> None:
        self._join = join
        self._left = left
        self._random = Random(seed)
        self._stays: dict[str, list[Stay]] = {name: [] for name in (*FILTERS, *SHARING)}
        self._stays["pod"].append(Stay(0.0, 0.0))
        self._processes: dict[str, Process] = {}
        self._results: list[Result] = []
        self._sent: Counter[str] = Counter()
        self._lock = Lock()
        self._errors: list[BaseException] = []
        self._over = False

    def go(self, port: int, clients: dict[str, Client], requests: int, changes: Sequence[Change] = CHANGES) -> Astray:
        """Send at least so many requests, and go on until everybody has left and come back.

        :param changes: who leaves, and how.
        :param clients: each sends the same part of them, and more while another one is slower.
        """
        each = requests // len(clients)
        for name in (*FILTERS, "dave"):
            self._come(name)
        threads = [Thread(target=self._send, args=(client, port)) for client in clients.values()]
        for thread in threads:
            thread.start()
        try:
            for number, (name, how) in enumerate(changes, 1):
                self._await(each * number // (len(changes) + 1), clients)
                self._leave(name, how, number)
                # some requests while they are away
                self._await(min(self._sent.values()) + AWAY, clients)
                self._come(name)
            self._await(each, clients)
        finally:
            self._over = True
            for thread in threads:
                thread.join()
        return self._judge()

    def _send(self, client: Client, port: int) -> None:
        try:
            client.run(port, self._heads(), self._note)
        except BaseException as error:
            self._errors.append(error)
            raise

    def _heads(self) -> Iterator[Head]:
        """Any number of requests, until the run is over."""
        random = Random(self._random.random())
        return _Endless(lambda: None if self._over else random.choice(HEADS))

    def _note(self, result: Result) -> None:
        with self._lock:
            self._results.append(result)
            self._sent[result.client] += 1

    def _await(self, number: int, clients: Iterable[str]) -> None:
        """Wait until each client has sent so many requests."""
        wait_until(lambda: self._errors or all(self._sent[name] >= number for name in clients), f"{number} requests", 600)
        if self._errors:
            raise AssertionError(f"a client has failed: {self._errors[0]!r}")

    # -- laptops

    def _come(self, name: str) -> None:
        stay = Stay(time.time())
        self._stays[name].append(stay)
        self._processes[name] = self._join(name)
        stay.here = time.time()

    def _leave(self, name: str, how: signal.Signals, number: int) -> None:
        stay, process = self._stays[name][-1], self._processes[name]
        stay.killed = how is signal.SIGKILL
        stay.leaving = time.time()
        process.send(how)
        process.wait()
        self._left(number)
        stay.gone = time.time()

    # -- who should have answered

    def _judge(self) -> Astray:
        found = Astray()
        for result in self._results:
            found.counts[result.client, result.name if result.status == 200 else str(result.status)] += 1
            start, end = result.start - TOLERANCE, result.end + TOLERANCE
            allowed, certain = self._allowed(result.head, start, end)
            found.certain += certain
            if result.status == 200 and result.name in allowed:
                continue
            killed = any(stay.killed and stay.perhaps(start, end) and stay.leaving <= end for stay in self._of(allowed))
            (found.lost if result.status != 200 and killed else found.wrong).append(result)
        return found

    def _of(self, names: set[str]) -> Iterator[Stay]:
        return (stay for name in names for stay in self._stays[name])

    def _allowed(self, head: Head, start: float, end: float) -> tuple[set[str], bool]:
        """Who may answer a request, and whether there is no doubt."""
        perhaps: set[str] = set()
        for name in head.takers:
            stays = self._stays[name]
            if any(stay.surely(start, end) for stay in stays):
                return {*perhaps, name}, not perhaps
            if any(stay.perhaps(start, end) for stay in stays):
                perhaps.add(name)
        sharing = {name for name in SHARING if any(stay.perhaps(start, end) for stay in self._stays[name])}
        return perhaps | sharing, not perhaps


class _Endless(Iterator[Head]):
    """What a function returns, until it is None; for several threads."""

    def __init__(self, make: Callable[[], Head | None]) -> None:
        self._make = make
        self._lock = Lock()

    def __next__(self) -> Head:
        with self._lock:
            made = self._make()
        if made is None:
            raise StopIteration
        return made
