"""Bytecodes of an exchange, by function: ``python -m bench.bytecodes [KIND ...]``; without a kind the sum of each of them.

A microsecond moves with whatever else the machine does; the number of instructions that the interpreter executes does not, so what
a change costs is seen even where others are at work. It says nothing of C code (a match of a pattern, a copy): a step is believed
when microseconds agree.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from bench import exchange, forwarding
from bench.table import markdown

#: By name: makes what has turns of :data:`bench.exchange.VISITORS` exchanges.
KINDS: dict[str, Callable[[], Any]] = {
    **{name: partial(exchange.Exchanges, kind) for name, kind in exchange.KINDS.items()},
    "client": forwarding.Forwardings,
}

_WARM = 100
_TURNS = 8
_ROOT = Path(__file__).parents[1]


class Bytecodes:
    """Counts those of all functions that are called while it is switched on; the current one is not among them.

    :ivar executed: by function.
    :ivar calls: of each of them.
    """

    def __init__(self) -> None:
        self.executed: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def switch(self, on: bool) -> None:
        """Count from now on, or no more."""
        sys.settrace(self._called if on else None)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        code = frame.f_code
        name = f"{code.co_filename.removeprefix(f'{_ROOT}/')}: {code.co_qualname}"
        frame.f_trace_lines = False
        frame.f_trace_opcodes = True
        self.calls[name] += 1
        return partial(self._executed, name)

    def _executed(self, name: str, _frame: FrameType, event: str, _argument: Any) -> Any:
        self.executed[name] += event == "opcode"


def of_kind(name: str) -> Bytecodes:
    """Those of some turns, once the code is warm."""
    exchanges = KINDS[name]()
    for _ in range(_WARM):
        exchanges.turn()
    counted = Bytecodes()
    on = False

    def clock() -> float:
        # a turn reads the clock before and after each part of what it measures
        nonlocal on
        counted.switch(False)
        on = not on
        counted.switch(on)
        return 0.0

    modules: tuple[Any, ...] = (exchange, forwarding)
    clocks = [(module, module.perf_counter) for module in modules]
    tracer = sys.gettrace()
    try:
        for module in modules:
            module.perf_counter = clock
        for _ in range(_TURNS):
            exchanges.turn()
    finally:
        sys.settrace(tracer)
        for module, original in clocks:
            module.perf_counter = original
    del counted.executed[next(name for name in counted.executed if name.endswith(": of_kind.<locals>.clock"))]
    return counted


def main() -> None:
    """Print a table of each kind that is named, else one of all."""
    each = 1 / _TURNS / exchange.VISITORS
    named = sys.argv[1:]
    counts = {name: of_kind(name) for name in named or KINDS}
    sums = [
        [name, f"{sum(counted.executed.values()) * each:.0f}", f"{sum(counted.calls.values()) * each:.1f}"]
        for name, counted in counts.items()
    ]
    print("\n".join(markdown(["an exchange", "bytecodes", "calls"], sums)))
    for name in named:
        counted = counts[name]
        rows = [
            [function, f"{executed * each:.1f}", f"{counted.calls[function] * each:.2f}"]
            for function, executed in counted.executed.most_common()
        ]
        print("", *markdown([name, "bytecodes", "calls"], rows), sep="\n")


if __name__ == "__main__":
    main()
