"""The arithmetic of the tables: medians with their spread, and ratios within one round."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over all rounds.

    :param rounds: how many rounds gave it.
    """

    median: float
    low: float
    high: float
    rounds: int


def summarise(values: Iterable[float | None]) -> Summary | None:
    """Median, least and greatest; None when no round gave a value."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Summary(statistics.median(known), min(known), max(known), len(known))


def ratios(values: Sequence[float | None], references: Sequence[float | None]) -> Summary | None:
    """How a system stands to another one: the ratio of each round in which both gave a value.

    Ratios are taken round by round, because what slows the machine slows both of a round and not all rounds alike.

    :returns: their summary; None when there is no such round.
    """
    pairs = zip(values, references, strict=False)
    return summarise(value / reference for value, reference in pairs if value is not None and reference)


def number(value: float, digits: int = 0) -> str:
    """A number as tables print it."""
    return f"{value:.{digits}f}"


def spread(summary: Summary | None, digits: int = 0) -> str:
    """``median (least to greatest)``, the median alone for one round, a dash for nothing."""
    if summary is None:
        return "-"
    if summary.rounds == 1:
        return number(summary.median, digits)
    return f"{number(summary.median, digits)} ({number(summary.low, digits)} to {number(summary.high, digits)})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; the first column is text, the others are figures."""
    lines = [_row(head), _row(["---", *["---:"] * (len(head) - 1)])]
    lines.extend(_row(row) for row in rows)
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
