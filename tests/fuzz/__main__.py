"""``python -m tests.fuzz``: runs fuzz targets, prints what each did, fails when one found something.

An input that fails is kept in ``.fuzz/failures/``; put it into the corpus (``tests/data/fuzz/TARGET/``) with a name that says what
it is, and :mod:`tests.fuzz.test_corpus` runs it from then on.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import frozen

from tests.fuzz.table import TARGETS
from tests.fuzz.target import Target

WORK = Path(".fuzz")
"""Where inputs that run something new are kept, for the next run to begin with."""

_PROGRESS = re.compile(r"^#\d+\s.* cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
_RUNS = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_NOISE = re.compile(r"^(?:INFO|WARNING|#\d+|stat::|MS:|0x).*\n", re.MULTILINE)
_TAIL = 4000
"""Characters of the output of a target that failed."""


@frozen
class Found:
    """What became of one target.

    :ivar edges: of the bytecode that ran.
    :ivar inputs: that each run something of their own.
    :ivar fault: the end of its output, if it failed.
    """

    name: str
    runs: int
    edges: int
    inputs: int
    fault: str

    def __str__(self) -> str:
        return f"{self.name:<16}{self.runs:>12}{self.edges:>8}{self.inputs:>8}{'  FAILED' if self.fault else ''}"


def run(target: Target, options: argparse.Namespace) -> Found:
    """Fuzz a target for so many seconds."""
    kept, failures = WORK / target.name, WORK / "failures"
    kept.mkdir(parents=True, exist_ok=True)
    failures.mkdir(exist_ok=True)
    words = WORK / f"{target.name}.dict"
    words.write_text("".join(map(_entry, target.words)))
    limits = [f"-max_total_time={options.seconds}", f"-max_len={target.max_size}", "-timeout=20", "-rss_limit_mb=512"]
    others = [f"-seed={options.seed}", f"-artifact_prefix={failures}/{target.name}-", "-print_final_stats=1"]
    if target.words:
        others.append(f"-dict={words}")
    module = target.run.__module__
    command = [sys.executable, "-m", "tests.fuzz.one", module, target.name, *limits, *others, str(kept), str(target.folder)]
    ended = subprocess.run(command, capture_output=True, check=False)
    output = (ended.stdout + ended.stderr).decode(errors="replace")
    runs = _RUNS.search(output)
    *_, (edges, _features, inputs) = _PROGRESS.findall(output) or [(0, 0, 0)]
    fault = f"status {ended.returncode}\n{_NOISE.sub('', output)[-_TAIL:]}" if ended.returncode else ""
    return Found(target.name, int(runs[1]) if runs else 0, int(edges), int(inputs), fault)


def _entry(word: bytes) -> str:
    """A word as libFuzzer reads it in a dictionary."""
    return '"{}"\n'.format("".join(f"\\x{byte:02x}" for byte in word))


def main(arguments: Sequence[str]) -> int:
    """Run the targets that are named, all if none is; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make fuzz", description="Fuzzes parsers; a target that fails prints how.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"default: all of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=10, help="for each target (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="targets at the same time (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; 0, the default, is another one each time")
    parser.add_argument("--lines", action="store_true", help="print how many lines of each module ran, and which did not")
    options = parser.parse_args(arguments)
    unknown = set(options.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    print(f"{'target':<16}{'runs':>12}{'edges':>8}{'inputs':>8}", flush=True)
    failed = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(lambda name: run(TARGETS[name], options), options.targets or TARGETS):
            print(found, flush=True)
            if found.fault:
                failed.append(found)
    if options.lines and not failed:
        subprocess.run([sys.executable, "-m", "tests.fuzz.lines", str(WORK), *(options.targets or TARGETS)], check=True)
    for found in failed:
        print(f"\n{found.name} failed: {found.fault}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
