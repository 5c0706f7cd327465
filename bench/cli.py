"""The command line."""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.cases import WARM_UP, Case, standard_cases
from bench.growth import growth_cases
from bench.machine import describe
from bench.plot import plot
from bench.proc import BenchError, raise_file_limit
from bench.record import Record, load_record
from bench.report import render
from bench.run import Runner
from bench.split import split
from bench.systems import choose, every_system

_RESULTS = Path(__file__).with_name("results")

_EPILOG = """\
examples:
  python -m bench --quick                                    one round of the main cases
  python -m bench --systems rtunnel,rathole --cases k1,k64   two systems beside nginx
  python -m bench --split --cases ingress-k64,k64            where a request's processor time goes; no files
  python -m bench --cases growth                             rules, connectors, idle visitors, slow readers
  RTUNNEL_BENCH_RATHOLE=/opt/rathole python -m bench         with a peer; a system without its program is skipped

peers: RTUNNEL_BENCH_GOST, RTUNNEL_BENCH_FRPS and RTUNNEL_BENCH_FRPC, RTUNNEL_BENCH_RATHOLE, RTUNNEL_BENCH_CHISEL,
RTUNNEL_BENCH_PIKO, each the path of a program. RTUNNEL_BENCH_BEFORE is the Python of an environment that has another
rtunnel, which is measured beside this one.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and write the report.

    :returns: the exit status: 0, or 1 when a measurement failed or the run could not begin.
    """
    options = _parser().parse_args(argv)
    raise_file_limit()
    try:
        if options.list:
            _list()
            return 0
        if options.render is not None:
            record = load_record(options.render)
            if options.split:
                print("\n".join(split(record)))
            else:
                _write(record, options.render.parent)
            return 0
        return _run(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure tunnels beside plain nginx and one hop of nginx proxy_pass, in turns.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="how often each is measured (3; 1 when quick)")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds of each load (4; 3 when quick)")
    parser.add_argument("--cases", metavar="NAMES", help="cases, or the groups standard and growth (both)")
    parser.add_argument("--systems", metavar="NAMES", help="systems beside the two of nginx (all)")
    parser.add_argument("--quick", action="store_true", help="a short run: k1, k64, churn, down, up")
    parser.add_argument("--label", metavar="TEXT", help="names the run and its files (full, quick)")
    parser.add_argument("--output", type=Path, default=_RESULTS, metavar="DIR", help="for the files (bench/results)")
    parser.add_argument("--split", action="store_true", help="print each process's microseconds of a request, and only that")
    parser.add_argument("--list", action="store_true", help="show cases and systems")
    parser.add_argument("--render", type=Path, metavar="JSON", help="write a run's report and plot anew, and end")
    return parser


def _run(options: argparse.Namespace) -> int:
    for tool in ("wrk", "curl"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed; on Debian: apt-get install {tool}")
    cases = _cases(options.cases, options.quick)
    rounds = options.rounds or (1 if options.quick else 3)
    seconds = options.duration or (3.0 if options.quick else 4.0)
    label = options.label or ("quick" if options.quick else "full")
    systems = choose(options.systems)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    record = Record(date, label, describe(), {"rounds": 0, "seconds": seconds})
    runner = Runner(record, cases, systems, named=options.systems is not None)
    total = runner.measurements() * rounds
    minutes = total * (seconds + WARM_UP + 1.5) / 60
    print(f"{total} measurements, about {minutes:.0f} minutes", file=sys.stderr)
    try:
        for done in runner.run(rounds, seconds):
            record.options["rounds"] = done
            if not options.split:
                options.output.mkdir(parents=True, exist_ok=True)
                _write(record, options.output)
    except KeyboardInterrupt:
        print("interrupted: the files hold the rounds that were finished", file=sys.stderr)
        return 1
    print("\n".join(split(record)) if options.split else render(record))
    return 1 if record.failures else 0


def _cases(names: str | None, quick: bool) -> list[Case]:
    every = [*standard_cases(), *growth_cases()]
    if names is None:
        return [case for case in every if case.quick or not quick]
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in {"standard", "growth", *(case.name for case in every)}:
            raise BenchError(f"--cases {name}: no such case; --list shows them")
    return [case for case in every if case.name in wanted or ("growth" if case.growth else "standard") in wanted]


def _write(record: Record, directory: Path) -> None:
    name = f"{record.date}-{''.join(sign if sign.isalnum() else '-' for sign in record.label.lower())}"
    record.save(directory / f"{name}.json")
    (directory / f"{name}.md").write_text(render(record), encoding="utf-8")
    plot(record, directory / f"{name}.svg")


def _list() -> None:
    print("cases:")
    for case in [*standard_cases(), *growth_cases()]:
        print(f"  {case.name:<28} {case.title}{' (quick)' if case.quick else ''}")
    print("systems:")
    for system in every_system():
        reason = system.absent()
        print(f"  {system.name:<28} {system.title}{f' (skipped: {reason})' if reason else ''}")
