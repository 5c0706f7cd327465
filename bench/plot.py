"""The plot for the README: requests per second, latency and bulk, one bar for each system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.record import Record, SystemRecord
from bench.systems import BEFORE, DIRECT, HOP
from bench.table import summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Panels: title, case, metric. Where they say nothing else, of 64 connections.
_PANELS = (
    ("as from an Ingress, requests/s", "ingress-k64", "rps"),
    ("of them p99 ms (less is better)", "ingress-k64", "p99"),
    ("plain, requests/s", "k64", "rps"),
    ("new connections/s", "churn", "rps"),
    ("download, MB/s", "down", "mbps"),
)
_OURS, _BEFORE, _BASELINE, _PEER = "#2f6fde", "#a9c3f2", "#9aa3ad", "#d98b3a"


def plot(record: Record, path: Path) -> bool:
    """Draw the plot as SVG.

    :returns: whether it was drawn: not without matplotlib, nor for a run without the cases it shows.
    """
    panels = [panel for panel in _PANELS if panel[1] in record.cases]
    if not panels:
        return False
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("svg")
    # The same run gives the same file, and its text stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    shown = [name for name in record.systems if any(_known(record, case, name, metric) is not None for _, case, metric in panels)]
    height = 0.6 + 0.3 * len(shown)
    width = 4 + 2.4 * len(panels)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(width, height), sharey=True, squeeze=False)
    for axis, (title, case, metric) in zip(axes[0], panels, strict=True):
        _panel(axis, record, shown, title, case, metric)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
    return True


def _panel(axis: Axes, record: Record, shown: list[str], title: str, case: str, metric: str) -> None:
    values = [_known(record, case, name, metric) for name in shown]
    titles = [_title(record.systems[name]) for name in shown]
    bars = axis.barh(titles, [value or 0.0 for value in values], color=[_colour(name) for name in shown])
    axis.bar_label(bars, labels=[_label(value) for value in values], padding=3)
    axis.set_title(title, fontsize=9, loc="left")
    axis.margins(x=0.2)
    axis.xaxis.set_visible(False)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()


def _known(record: Record, case: str, system: str, metric: str) -> float | None:
    summary = summarise(record.series(case, system, metric))
    return None if summary is None else summary.median


def _label(value: float | None) -> str:
    """What stands behind a bar: of what was not measured a dash, not a zero."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _title(system: SystemRecord) -> str:
    return f"{system.title} (looks at no request)" if system.routes == "TCP" else system.title


def _colour(system: str) -> str:
    if system == BEFORE:
        return _BEFORE
    if "rtunnel" in system:
        return _OURS
    return _BASELINE if system in (DIRECT, HOP) else _PEER
