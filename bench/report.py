"""A record as Markdown."""

from __future__ import annotations

from bench.goals import GOALS, Goal
from bench.metrics import METRICS
from bench.record import CaseRecord, Record, SystemRecord
from bench.split import split
from bench.systems import BEFORE, DIRECT, HOP
from bench.table import markdown, number, ratios, spread, summarise

#: Columns of the summary: head, case, metric.
_SUMMARY = (
    ("Ingress k64 r/s", "ingress-k64", "rps"),
    ("Ingress k64 p99 ms", "ingress-k64", "p99"),
    ("k1 r/s", "k1", "rps"),
    ("k64 r/s", "k64", "rps"),
    ("k64 p99 ms", "k64", "p99"),
    ("k256 r/s", "k256", "rps"),
    ("churn r/s", "churn", "rps"),
    ("down MB/s", "down", "mbps"),
    ("up MB/s", "up", "mbps"),
    ("WebSocket msg/s", "websocket", "messages"),
)

#: What is compared with the version before.
_COMPARED = ("rps", "messages", "datagrams", "mbps", "p99", "server_kib", "client_kib")

#: Columns with a figure for each side, likewise.
_SUMMARY_SIDES = (
    ("KiB per idle visitor, server / client", "idle", "kib"),
    ("CPU us per request as from an Ingress, server / client", "ingress-k64", "us"),
    ("CPU us per request at k64, server / client", "k64", "us"),
)

#: What an Ingress before a system and an access log cost: head of a column, case. All beside k64.
_BURDENS = (
    ("as from an Ingress", "ingress-k64"),
    ("as from an Ingress, not believed", "ingress-untrusted-k64"),
    ("as from an Ingress, text log", "ingress-access-text-k64"),
    ("text log", "access-text-k64"),
    ("JSON log", "access-json-k64"),
    ("through nginx as Ingress", "nginx-ingress-k64"),
)


def render(record: Record) -> str:
    """The whole report."""
    lines = [f"# Benchmark of {record.date}: {record.label}", ""]
    lines += _machine(record)
    lines += _summary(record)
    lines += _burdens(record)
    lines += _goals(record)
    lines += _beside_before(record)
    lines += ["## Case by case", ""]
    for name, case in record.cases.items():
        if not case.growth:
            lines += _case(record, name, case)
    lines += _growth(record)
    table = split(record)
    if table:
        lines += ["## Processor time of a request, in microseconds", "", *table]
    lines += _notes(record)
    lines += _systems(record)
    return "\n".join(lines).rstrip() + "\n"


def _machine(record: Record) -> list[str]:
    facts = ", ".join(f"{fact} {value}" for fact, value in record.machine.items())
    rounds, seconds = record.options["rounds"], record.options["seconds"]
    method = (
        "Visitors, service and every process of a system share this machine. "
        f"{rounds:g} round(s), the systems in turn; "
        f"each load {seconds:g} s after 1 s of warm-up, on freshly started processes, with another path and another "
        "field in every request. Figures are medians, with the least and the greatest in brackets; ratios are medians "
        "of the ratios within each round. Only ratios within one run mean anything."
    )
    return [f"{facts}.", "", method, ""]


def _summary(record: Record) -> list[str]:
    columns = [column for column in _SUMMARY if column[1] in record.cases]
    sided = [column for column in _SUMMARY_SIDES if column[1] in record.cases]
    if not columns and not sided:
        return []
    rows = []
    for name, system in record.systems.items():
        cells = [_median(record, case, name, metric) for _, case, metric in columns]
        cells += [_both_sides(record, case, name, metric) for _, case, metric in sided]
        rows.append([system.title, system.routes, *cells])
    head = ["system", "routes", *(head for head, _, _ in (*columns, *sided))]
    return ["## Summary", "", *markdown(head, rows)]


def _burdens(record: Record) -> list[str]:
    """What stands before the tunnel in a cluster, and what is written down, as ratios to plain requests."""
    columns = [(head, case) for head, case in _BURDENS if case in record.cases]
    rows = []
    for name, system in record.systems.items():
        plain = record.series("k64", name, "rps")
        found = [ratios(record.series(case, name, "rps"), plain) for _, case in columns]
        if any(found):
            rows.append([system.title, *(spread(summary, 2) for summary in found)])
    if not rows:
        return []
    lines = ["## Behind an Ingress, and with an access log", ""]
    lines += ["Requests per second with 64 keep-alive connections, beside plain requests without a log (`k64`).", ""]
    return [*lines, *markdown(["system", *(head for head, _ in columns)], rows)]


def _beside_before(record: Record) -> list[str]:
    """What a change did: each figure that counts, of both."""
    rows = []
    for name in record.cases:
        for metric in record.metrics(name):
            if metric not in _COMPARED:
                continue
            now, then = (record.series(name, system, metric) for system in ("rtunnel", BEFORE))
            ratio = ratios(now, then)
            if ratio is not None:
                digits = METRICS[metric].digits
                figures = [spread(summarise(series), digits) for series in (then, now)]
                rows.append([f"{name}, {METRICS[metric].label}", *figures, spread(ratio, 2)])
    if not rows:
        return []
    return ["## Beside the version before", "", *markdown(["figure", "before", "now", "ratio"], rows)]


def _median(record: Record, case: str, system: str, metric: str) -> str:
    summary = summarise(record.series(case, system, metric))
    return "-" if summary is None else number(summary.median, METRICS[metric].digits)


def _both_sides(record: Record, case: str, system: str, metric: str) -> str:
    figures = [_median(record, case, system, f"{side}_{metric}") for side in ("server", "client")]
    shown = [figure for figure in figures if figure != "-"]
    return " / ".join(shown) or "-"


def _goals(record: Record) -> list[str]:
    rows = [row for goal in GOALS if (row := _goal(record, goal)) is not None]
    if not rows:
        return []
    head = ["figure", "against", "wanted", "measured", ""]
    return ["## The figures to reach", "", *markdown(head, rows)]


def _goal(record: Record, goal: Goal) -> list[str] | None:
    summary = goal.summary(record)
    if summary is None:
        return None
    who = "" if goal.system == "rtunnel" else f"{goal.system}, "
    against = "-" if goal.against is None else goal.against
    if goal.against_case is not None:
        against = f"{against}, {goal.against_case}"
    wanted = f"{'at most' if goal.at_most else 'at least'} {goal.bound:g}"
    verdict = "reached" if goal.reached(summary) else "**missed**"
    return [f"{who}{goal.case}, {METRICS[goal.metric].label}", against, wanted, spread(summary, 2), verdict]


def _case(record: Record, name: str, case: CaseRecord) -> list[str]:
    metrics = [metric for metric in record.metrics(name) if not METRICS[metric].quiet]
    if not metrics:
        return []
    compared = metrics[0] if metrics[0] in ("rps", "messages", "datagrams", "mbps") else None
    head, rows = ["system", *(METRICS[metric].label for metric in metrics)], []
    for system in record.systems:
        if system in case.rounds:
            rows.append([record.systems[system].title, *_figures(record, name, system, metrics)])
            if compared:
                rows[-1] += _compared(record, name, system, compared)
    if compared:
        head += ["of nginx direct", "of one hop"]
    return [f"### {case.title} (`{name}`)", "", *markdown(head, rows)]


def _figures(record: Record, case: str, system: str, metrics: list[str]) -> list[str]:
    series = ((metric, summarise(record.series(case, system, metric))) for metric in metrics)
    return [spread(summary, METRICS[metric].digits) for metric, summary in series]


def _compared(record: Record, case: str, system: str, metric: str) -> list[str]:
    own = record.series(case, system, metric)
    return [spread(ratios(own, record.series(case, base, metric)), 3) for base in (DIRECT, HOP)]


def _growth(record: Record) -> list[str]:
    cases = {name: case for name, case in record.cases.items() if case.growth}
    rows = []
    for name, case in cases.items():
        for system in case.rounds:
            if not any(case.rounds[system]):
                continue
            flat = ratios(record.series(name, system, "rps"), _unburdened(record, system))
            extra = [metric for metric in ("slow", "visitors") if metric in record.metrics(name)]
            notes = [f"{METRICS[metric].label}: {_median(record, name, system, metric)}" for metric in extra]
            figures = _figures(record, name, system, ["rps", "p99"])
            cpu = _both_sides(record, name, system, "us")
            rows.append([case.title, record.systems[system].title, *figures, cpu, spread(flat, 2), ", ".join(notes)])
    if not rows:
        return []
    head = ["64 keep-alive connections, with", "system", "requests/s", "p99 ms", "CPU us each, server / client"]
    head += ["of 1 rule and 1 connector", ""]
    return ["## Growth: what should be flat", "", *markdown(head, rows)]


def _unburdened(record: Record, system: str) -> list[float | None]:
    """The requests per second of the system with one rule and one connector."""
    series = record.series("rules-1", system, "rps")
    return series if any(series) else record.series("k64", system, "rps")


def _notes(record: Record) -> list[str]:
    lines = ["## Noise, failures, skipped", ""]
    summary = summarise(record.foreign)
    if summary is not None:
        lines.append(
            f"- Other work on the machine took {summary.median:.1%} of it in the median measurement, "
            f"{summary.high:.1%} in the worst."
        )
    for name, case in record.cases.items():
        for system in case.rounds:
            errors = summarise(record.series(name, system, "errors"))
            if errors is not None and errors.high:
                lines.append(f"- `{name}`, {system}: up to {errors.high:.0f} failed requests in a round.")
    lines += [f"- Failed: {failure}" for failure in record.failures]
    lines += [f"- Skipped: {name}: {reason}." for name, reason in record.skipped.items()]
    return [*lines, ""]


def _systems(record: Record) -> list[str]:
    lines = ["## Versions and command lines", ""]
    for name, system in record.systems.items():
        lines += _system(name, system)
    return lines


def _system(name: str, system: SystemRecord) -> list[str]:
    lines = [f"### {system.title} (`{name}`): {system.version}", ""]
    for launch in system.launches:
        variables = "".join(f"{key}={value} " for key, value in launch["environment"].items())
        lines += [f"{launch['role']}:", "", "```", f"{variables}{launch['command']}"]
        for file, text in launch["files"].items():
            lines += ["", f"# {file}", text.rstrip()]
        lines += ["```", ""]
    return lines
