"""``python -m tests.soak``: one soak; prints what visitors saw, what the processes use, and what is wrong.

The exit status is 1 if anything is.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from rich import box
from rich.table import Table

from tests.faults.report import show
from tests.faults.usage import MIB
from tests.soak.run import Soak, soak
from tests.soak.traffic import KINDS


def main() -> int:
    """Run it and show it.

    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description="Mixed traffic, in which parts are killed.")
    parser.add_argument("--minutes", type=float, default=5, help="default: %(default)g; an hour shows what grows slowly")
    result = soak(parser.parse_args().minutes * 60)
    show(traffic_table(result), sys.stdout)
    show(usage_table(result), sys.stdout)
    print(f"{result.mishaps} mishaps, {result.lines} lines in the access log")
    for text in result.wrong or ["everything came back, and log and metrics agree"]:
        print(text)
    return 1 if result.wrong else 0


def traffic_table(result: Soak) -> Table:
    """How visits ended, by kind."""
    table = Table("visits", "ok", "failed", box=box.MARKDOWN)
    for kind in KINDS:
        seen = Counter({outcome: count for (whose, outcome), count in result.outcomes.items() if whose == kind})
        failed = ", ".join(f"{count} {outcome}" for outcome, count in sorted(seen.items()) if outcome != "ok")
        table.add_row(kind, str(seen["ok"]), failed or "0")
    return table


def usage_table(result: Soak) -> Table:
    """What the processes used after the warm-up and in the end."""
    table = Table("process", "descriptors", "threads", "memory (MiB)", box=box.MARKDOWN)
    for name, before in result.before.items():
        after = result.after[name]
        table.add_row(
            name,
            f"{before.descriptors} to {after.descriptors}",
            f"{before.threads} to {after.threads}",
            f"{before.resident / MIB:.1f} to {after.resident / MIB:.1f}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
