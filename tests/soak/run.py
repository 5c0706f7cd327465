"""One soak: a warm-up, minutes of traffic with mishaps, and what there is in the end that was not there before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from time import monotonic, sleep

from attrs import define

from rtunnel.ops.memory import RETURN_EVERY
from tests.faults.usage import MIB, Usage
from tests.soak.books import complaints
from tests.soak.site import MISHAPS, Site
from tests.soak.traffic import Traffic
from tests.support.processes import wait_until

__all__ = ["Soak", "soak"]

GROWTH = 10.0


@define
class Soak:
    """What one soak came to.

    :ivar outcomes: how visits ended, by kind and by what their visitor saw.
    :ivar mishaps: how often something was killed, ended or stopped.
    :ivar before: what the processes used after the warm-up, when all visitors had left.
    :ivar after: the same in the end.
    :ivar growth: MiB that the memory of a process may have grown in between.
    :ivar lines: of the access log.
    :ivar books: what does not agree.
    """

    outcomes: Counter[tuple[str, str]]
    mishaps: int
    before: dict[str, Usage]
    after: dict[str, Usage]
    growth: float
    lines: int
    books: list[str]

    @property
    def wrong(self) -> list[str]:
        """Everything that should not be."""
        return [*self._kept(), *self.books]

    def _kept(self) -> Sequence[str]:
        found = []
        for name, before in self.before.items():
            after = self.after[name]
            if after.descriptors > before.descriptors:
                found.append(f"{name}: {before.descriptors} descriptors before, {after.descriptors} after")
            if after.threads > before.threads:
                found.append(f"{name}: {before.threads} threads before, {after.threads} after")
            if after.resident - before.resident > self.growth * MIB:
                found.append(f"{name}: {before.resident / MIB:.1f} MiB before, {after.resident / MIB:.1f} after")
        return found


def soak(
    seconds: float,
    *,
    warm_up: float = 15.0,
    pause: float = 5.0,
    growth: float = GROWTH,
    rest: float = RETURN_EVERY + 5,
    least: int = 0,
) -> Soak:
    """Run one.

    :param seconds: of traffic with mishaps.
    :param warm_up: seconds of traffic before, after which the processes have what they keep.
    :param pause: seconds between two mishaps.
    :param growth: MiB that the memory of a process may grow after the warm-up.
    :param rest: seconds without visitors before each look at what the processes use, in which they return freed memory.
    :param least: mishaps for which it goes on when the time is over.
    """
    with Site() as site:
        first = Traffic(site)
        sleep(warm_up)
        first.stop()
        site.settle()
        sleep(rest)
        before = site.usage()
        traffic, mishaps = Traffic(site, len(first.requests)), 0
        try:
            end = monotonic() + seconds
            for mishap in cycle(MISHAPS):
                sleep(max(0.0, min(pause, end - monotonic())))
                if monotonic() >= end and mishaps >= least:
                    break
                # one at a time: while a client is still on its way back, another one is there
                site.complete()
                mishap(site)
                mishaps += 1
        finally:
            traffic.stop()
        site.settle()
        sleep(rest)
        samples, lines = _books(site)
        return Soak(
            outcomes=first.outcomes + traffic.outcomes,
            mishaps=mishaps,
            before=before,
            after=site.usage(),
            growth=growth,
            lines=len(lines),
            books=complaints(lines, samples, first.requests | traffic.requests),
        )


def _books(site: Site) -> tuple[list[str], list[str]]:
    """The metrics, and the log when its last lines were written, which is done twice a second."""
    written = -1

    def complete() -> bool:
        nonlocal written
        before, written = written, len(site.log.read_bytes())
        sleep(1)
        return before == written

    wait_until(complete, "the access log is written")
    return site.metrics(), site.log.read_text().splitlines()
