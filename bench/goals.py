"""The figures to reach, as checks on a record."""

from __future__ import annotations

from dataclasses import dataclass

from bench.record import Record
from bench.systems import HOP
from bench.table import Summary, ratios, summarise

_FULL = "connectors-1000-rules-10000"


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure.

    :param case: where it is measured.
    :param metric: which one.
    :param against: the system it is compared with in the same run, None for a bare figure.
    :param bound: what the ratio or the figure has to be.
    :param at_most: whether the bound is from above.
    :param system: who has to reach it.
    :param against_case: where the other one is measured, when that is another case.
    """

    case: str
    metric: str
    against: str | None
    bound: float
    at_most: bool = False
    system: str = "rtunnel"
    against_case: str | None = None

    def reached(self, summary: Summary) -> bool:
        """Whether the median is on the right side."""
        return summary.median <= self.bound if self.at_most else summary.median >= self.bound

    def summary(self, record: Record) -> Summary | None:
        """The ratio, or the figure, in a record; None when it was not measured."""
        values = record.series(self.case, self.system, self.metric)
        if self.against is None:
            return summarise(values)
        return ratios(values, record.series(self.against_case or self.case, self.against, self.metric))


GOALS = (
    Goal("ingress-k64", "rps", "rathole", 0.92),
    Goal("ingress-k64", "rps", "rtunnel", 0.92, against_case="k64"),
    Goal("access-text-k64", "rps", "rtunnel", 0.88, against_case="k64"),
    Goal("access-json-k64", "rps", "rtunnel", 0.85, against_case="k64"),
    Goal("filters-50-k64", "rps", "rtunnel", 0.95, against_case="k64"),
    Goal("filters-1000-k64", "rps", "rtunnel", 0.80, against_case="k64"),
    Goal("k64", "rps", "rathole", 1.0),
    Goal("k64", "rps", HOP, 0.65),
    Goal("k64", "rps", "gost", 13),
    Goal("k64", "rps", "gost-keepalive", 11),
    Goal("k1", "rps", "gost", 5),
    Goal("k1", "rps", "rathole", 0.9),
    Goal("k256", "rps", "rathole", 1.0),
    Goal("k64", "p99", "rathole", 1.0, at_most=True),
    Goal("churn", "rps", "gost", 4),
    Goal("churn", "rps", "rathole", 1.6),
    Goal("down", "mbps", "rathole", 1.5),
    Goal("up", "mbps", "rathole", 1.2),
    Goal("idle", "server_kib", None, 2, at_most=True),
    Goal("idle", "client_kib", None, 1, at_most=True),
    Goal("k64", "rps", "rtunnel", 0.7, system="rtunnel-epoll"),
    Goal("k64", "rps", "gost", 2, system="gost-on-rtunnel"),
    Goal("k64", "rps", "rtunnel", 0.98, system="rtunnel-shared"),
    Goal("k64", "rps", "rtunnel", 0.55, system="rtunnel-remote"),
    Goal("down", "mbps", "rtunnel", 0.5, system="rtunnel-remote"),
    Goal("up", "mbps", "rtunnel", 0.5, system="rtunnel-remote"),
    Goal("k64", "rps", "rtunnel", 0.85, system="rtunnel-wss"),
    Goal("down", "mbps", "rtunnel", 0.5, system="rtunnel-wss"),
    Goal("up", "mbps", "rtunnel", 0.5, system="rtunnel-wss"),
    Goal("down", "mbps", "gost-wss", 1.0, system="rtunnel-wss"),
    Goal("up", "mbps", "gost-wss", 1.0, system="rtunnel-wss"),
    Goal("down", "mbps", "rathole", 0.9, system="rtunnel-private"),
    Goal("up", "mbps", "rathole", 0.9, system="rtunnel-private"),
    Goal(_FULL, "rps", "rtunnel", 0.9, against_case="rules-1"),
)
