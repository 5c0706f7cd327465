"""Where a request's processor time goes: each process, in its program and in the kernel."""

from __future__ import annotations

from bench.metrics import METRICS
from bench.record import Record
from bench.stage import SIDES
from bench.table import markdown, number, summarise

_UNITS = ("rps", "messages", "datagrams")


def split(record: Record) -> list[str]:
    """A table: a row for each case and system, a column for each process, and all processes together.

    :returns: its lines; none when no case measured that.
    """
    sides = [side for side in SIDES if any(f"{side}_us" in record.metrics(case) for case in record.cases)]
    rows = [row for case in record.cases for system in record.systems if (row := _row(record, case, system, sides)) is not None]
    if not rows:
        return []
    titles = [f"{METRICS[f'{side}_us'].label.rpartition(' ')[2]}: program + kernel" for side in sides]
    return markdown(["case", "system", "each second", *titles, "us, all together"], rows)


def _row(record: Record, case: str, system: str, sides: list[str]) -> list[str] | None:
    cells, together = [], 0.0
    for side in sides:
        total = _median(record, case, system, f"{side}_us")
        if total is None:
            cells.append("-")
            continue
        together += total
        kernel = _median(record, case, system, f"{side}_kernel_us")
        cells.append(number(total, 1) if kernel is None else f"{number(total - kernel, 1)} + {number(kernel, 1)}")
    if not together:
        return None
    rates = (_median(record, case, system, unit) for unit in _UNITS)
    rate = next((rate for rate in rates if rate is not None), None)
    return [case, system, "-" if rate is None else number(rate), *cells, number(together, 1)]


def _median(record: Record, case: str, system: str, metric: str) -> float | None:
    summary = summarise(record.series(case, system, metric))
    return None if summary is None else summary.median
