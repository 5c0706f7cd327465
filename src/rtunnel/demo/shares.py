"""What was counted, and whether it is what was expected."""

from __future__ import annotations

from enum import Enum
from math import sqrt

import attrs

__all__ = ["Act", "Phase", "Results", "Side", "Tally"]

TOLERANCE = 15.0
"""Percentage points by which a share of one half may be off."""
FIVE_SIGMA = 250.0
"""Five standard deviations of such a share, in percentage points, times the square root of the number of requests."""


class Side(Enum):
    """The side that answered a request."""

    POD = "pod"
    LAPTOP = "laptop"


@attrs.define
class Tally:
    """Numbers of requests, by how they ended.

    :ivar failures: the failed requests, by reason.
    """

    pod: int = 0
    laptop: int = 0
    failures: dict[str, int] = attrs.Factory(dict)

    @property
    def failed(self) -> int:
        """How many were answered by neither side."""
        return sum(self.failures.values())

    @property
    def answered(self) -> int:
        """How many were answered."""
        return self.pod + self.laptop

    @property
    def sent(self) -> int:
        """All of them."""
        return self.answered + self.failed

    def count(self, outcome: Side | str) -> None:
        """Count one request.

        :param outcome: the side that answered, or why the request failed.
        """
        match outcome:
            case Side.POD:
                self.pod += 1
            case Side.LAPTOP:
                self.laptop += 1
            case reason:
                self.failures[reason] = self.failures.get(reason, 0) + 1

    def percent(self, side: Side) -> float:
        """A side's share of the answers, 0 when there are none yet."""
        part = self.pod if side is Side.POD else self.laptop
        return 100 * part / self.answered if self.answered else 0.0


@attrs.frozen
class Phase:
    """One phase of the scenario.

    :ivar title: what the user did.
    :ivar laptop: the laptop's share that is expected, in percent: 0, 50 or 100.
    :ivar personal: whether every other request is for the laptop by its header, so that a half is exact.
    """

    title: str
    laptop: int
    personal: bool = False

    @property
    def expected(self) -> str:
        """The shares of pod and laptop as the summary names them."""
        exact = self.personal or self.laptop in (0, 100)
        return f"{'' if exact else 'near '}{100 - self.laptop}/{self.laptop}"

    def bounds(self, answered: int) -> tuple[float, float]:
        """The smallest and the largest share of the laptop that is as expected, in percent.

        All or nothing is exact. A half is chosen at random, so it may be off by 15 points; with few requests by five standard
        deviations (once in some millions), but each side must be seen.

        :param answered: out of how many requests, at least 1.
        """
        if self.laptop in (0, 100):
            return self.laptop, self.laptop
        one = 100 / answered
        if self.personal:
            # of an odd number of requests the laptop gets the smaller half
            return 50 - one / 2, 50
        off = min(max(TOLERANCE, FIVE_SIGMA / sqrt(answered)), 50 - one)
        return 50 - off, 50 + off

    def complaint(self, tally: Tally) -> str | None:
        """What is not as expected; ``None`` if everything is.

        :param tally: what was counted in the phase.
        """
        if tally.failed:
            return f"{self.title}: {_failures(tally)}"
        if not tally.answered:
            return f"{self.title}: no request was sent"
        low, high = self.bounds(tally.answered)
        share = tally.percent(Side.LAPTOP)
        if low <= share <= high:
            return None
        wanted = f"{low:.0f} %" if low == high else f"{low:.0f} to {high:.0f} %"
        return f"{self.title}: the laptop answered {share:.1f} % of {tally.answered} requests, expected {wanted}"


@attrs.define
class Act:
    """A phase as it is played."""

    phase: Phase
    tally: Tally = attrs.Factory(Tally)
    done: bool = False

    @property
    def complaint(self) -> str | None:
        """What is not as expected; ``None`` if everything is, or the phase is not over."""
        return self.phase.complaint(self.tally) if self.done else None


@attrs.define
class Results:
    """Everything that was counted.

    :ivar acts: the phases, in order, those to come too.
    :ivar between: the requests that were sent while a client was joining or leaving.
    :ivar connections: how many connections the visitor has opened for all of them.
    """

    acts: list[Act]
    between: Tally = attrs.Factory(Tally)
    connections: int = 0

    @property
    def sent(self) -> int:
        """How many requests were sent."""
        return self.between.sent + sum(act.tally.sent for act in self.acts)

    @property
    def complaints(self) -> list[str]:
        """What is not as expected, one line each; phases that were not played do not count."""
        lines = [act.complaint for act in self.acts if act.complaint]
        if self.between.failed:
            lines.append(f"while a client joined or left: {_failures(self.between)}")
        return lines


def _failures(tally: Tally) -> str:
    reasons = ", ".join(f"{count} x {reason}" for reason, count in tally.failures.items())
    return f"{tally.failed} of {tally.sent} requests failed ({reasons})"
