"""``python -m bench.recording FILE.svg``: runs ``rtunnel demo`` on a terminal, and draws what it showed as a moving picture.

The picture is one SVG without scripts, so that it plays wherever an image is shown. All screens are there, one below the other, and
an animation moves to the next when its time has come; a line that several screens have is drawn once and used by each.
"""

from __future__ import annotations

import argparse
import os
import pty
import struct
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from fcntl import ioctl
from html import escape
from itertools import groupby, pairwise
from pathlib import Path

import pyte
from attrs import frozen

__all__ = ["Frame", "Run", "main", "record", "svg"]

COLUMNS, ROWS = 120, 32
STEP = 0.25
"""Seconds between two screens, unless one stays for longer."""
QUIET = 0.03
"""Seconds without output after which a screen is whole: a program may need several writes for one."""
IDLE = 1.2
"""Seconds that nothing happens at most; longer waits are cut."""
PAUSE = 6.0
"""Seconds that the last screen stays."""

WIDTH, HEIGHT, SIZE = 8.4, 18, 14
"""Of a character's cell, and its font, in pixels."""
MARGIN = 14
BACKGROUND, FOREGROUND = "#0d1117", "#c9d1d9"
FONT = f"{SIZE}px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
STYLE = f"text{{font:{FONT};fill:{FOREGROUND};white-space:pre}}.b{{font-weight:bold}}"
COLOURS = {
    "red": "#ff7b72",
    "green": "#3fb950",
    "brown": "#d29922",
    "blue": "#58a6ff",
    "magenta": "#bc8cff",
    "cyan": "#39c5cf",
    "white": "#c9d1d9",
    "black": "#6e7681",
}
"""By pyte's names."""


@frozen
class Run:
    """Characters of a line in one style, without spaces at the ends.

    :ivar column: where it begins.
    """

    column: int
    text: str
    colour: str
    bold: bool


Line = tuple[Run, ...]


@frozen
class Frame:
    """What the screen showed.

    :ivar at: seconds since the start.
    :ivar lines: one for each row.
    """

    at: float
    lines: tuple[Line, ...]


def record(argv: Sequence[str]) -> tuple[list[Frame], int]:
    """Run a program on a terminal; returns the screens that differ, and its exit status."""
    child, terminal = pty.fork()
    if not child:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(COLUMNS), LINES=str(ROWS))
        os.execv(argv[0], list(argv))
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    frames: list[Frame] = []
    drawn, shown = time.monotonic(), 0.0
    for data in _output(terminal):
        now = time.monotonic()
        quiet = now - drawn
        if not frames or (quiet >= QUIET and max(quiet, shown - frames[-1].at) >= STEP):
            # what was there until now
            _add(frames, Frame(shown, _lines(screen)))
        stream.feed(data)
        shown, drawn = shown + min(quiet, IDLE), now
    _add(frames, Frame(shown, _lines(screen)))
    _, status = os.waitpid(child, 0)
    return frames, os.waitstatus_to_exitcode(status)


def _output(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            # the end, on Linux
            return
        if not data:
            return
        yield data


def _add(frames: list[Frame], frame: Frame) -> None:
    if not frames or frames[-1].lines != frame.lines:
        frames.append(frame)


def _lines(screen: pyte.Screen) -> tuple[Line, ...]:
    return tuple(tuple(_runs(screen, row)) for row in range(ROWS))


def _runs(screen: pyte.Screen, row: int) -> Iterator[Run]:
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    for (colour, bold), group in groupby(enumerate(cells), key=lambda cell: (cell[1].fg, cell[1].bold)):
        members = list(group)
        text = "".join(cell.data for _, cell in members)
        column = members[0][0]
        # a gap of two spaces or more separates columns, each of which keeps its place
        for part in text.split("  "):
            if part.strip():
                yield Run(column + len(part) - len(part.lstrip()), part.strip(), COLOURS.get(colour, FOREGROUND), bold)
            column += len(part) + 2


def svg(frames: Sequence[Frame], title: str) -> str:
    """The moving picture."""
    end = frames[-1].at + PAUSE
    width, height = round(COLUMNS * WIDTH) + 2 * MARGIN, ROWS * HEIGHT + 2 * MARGIN
    drawn: dict[Line, int] = {}
    for frame in frames:
        for line in frame.lines:
            if line:
                drawn.setdefault(line, len(drawn))
    screens = (
        "".join(
            f'<use href="#{drawn[line]}" y="{(number * ROWS + row) * HEIGHT}"/>' for row, line in enumerate(frame.lines) if line
        )
        for number, frame in enumerate(frames)
    )
    times = [0.0, *(frame.at for frame in frames[1:]), end]
    steps = "".join(
        f"{100 * begin / end:.2f}%{{transform:translateY(-{number * ROWS * HEIGHT}px)}}"
        for number, (begin, _) in enumerate(pairwise(times))
    )
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}#film{{animation:play {end:.1f}s step-end infinite}}@keyframes play{{{steps}}}</style>",
            f"<defs>{''.join(_symbol(line, number) for line, number in drawn.items())}</defs>",
            f'<rect width="{width}" height="{height}" rx="6" fill="{BACKGROUND}"/>',
            f'<svg x="{MARGIN}" y="{MARGIN}" width="{width - 2 * MARGIN}" height="{ROWS * HEIGHT}"><g id="film">',
            *screens,
            "</g></svg></svg>\n",
        )
    )


def _symbol(line: Line, number: int) -> str:
    return f'<g id="{number}">{"".join(map(_text, line))}</g>'


def _text(run: Run) -> str:
    style = f' style="fill:{run.colour}"' if run.colour != FOREGROUND else ""
    bold = ' class="b"' if run.bold else ""
    width = f"{len(run.text) * WIDTH:.1f}"
    place = f'x="{run.column * WIDTH:.1f}" y="{SIZE}" textLength="{width}"'
    return f"<text {place}{bold}{style}>{escape(run.text, quote=False)}</text>"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.recording", description="Draws what rtunnel demo shows as an animated SVG.")
    parser.add_argument("file", type=Path, help="the picture")
    parser.add_argument("--requests", default="150", help="requests in each phase of the demo")
    given = parser.parse_args(arguments)
    frames, status = record((sys.executable, "-m", "rtunnel", "demo", "--requests", given.requests))
    if status:
        print(f"the demo ended with status {status}; nothing was written", file=sys.stderr)
        return 1
    picture = svg(frames, "rtunnel demo: who answers while a laptop joins, takes over and is killed")
    given.file.write_text(picture, encoding="utf-8")
    print(f"{given.file}: {len(frames)} screens, {frames[-1].at:.1f} s, {len(picture.encode()) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
