"""The moving picture of the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.recording import FOREGROUND, PAUSE, ROWS, Frame, Run, record, svg

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = r"""
import sys, time
say = lambda text: (sys.stdout.write(text), sys.stdout.flush(), time.sleep(0.4))
say("one \x1b[1;32mtwo\x1b[0m      three\n")
say("\x1b[2Jnot this")
say("\x1b[H\x1b[2Kfour <&> \x1b[34mfive\x1b[0m")
sys.exit(3)
"""


class RecordTests(SynchronousTestCase):
    def test_screens(self) -> None:
        """What stands on the screen counts, not what was written; styles and columns are kept."""
        frames, status = record((sys.executable, "-c", PROGRAM))
        self.assertEqual(status, 3)
        shown = [[run.text for line in frame.lines for run in line] for frame in frames]
        self.assertIn(["one", "two", "three"], shown)
        self.assertEqual(shown[-1], ["four <&>", "five", "not this"])
        first = frames[shown.index(["one", "two", "three"])].lines[0]
        self.assertEqual([(run.column, run.bold) for run in first], [(0, False), (4, True), (13, False)])
        self.assertEqual([run.colour == FOREGROUND for run in first], [True, False, True])
        self.assertEqual([frame.at for frame in frames], sorted({frame.at for frame in frames}))


class SvgTests(SynchronousTestCase):
    def test_picture(self) -> None:
        hello, more = (Run(0, "hello <you>", FOREGROUND, bold=False),), (Run(2, "more", "#3fb950", bold=True),)
        nothing = ((),) * (ROWS - 2)
        frames = [Frame(0.0, (hello, (), *nothing)), Frame(2.0, (hello, more, *nothing)), Frame(4.0, (more, (), *nothing))]
        text = svg(frames, "a & b")
        picture = ElementTree.fromstring(text)
        self.assertEqual(picture.findtext(f"{SVG}title"), "a & b")
        symbols = picture.findall(f"{SVG}defs/{SVG}g")
        self.assertEqual(["".join(symbol.itertext()) for symbol in symbols], ["hello <you>", "more"])
        uses = [(use.get("href"), use.get("y")) for use in picture.iter(f"{SVG}use")]
        self.assertEqual([href for href, _ in uses], ["#0", "#0", "#1", "#1"])
        self.assertIn(f"animation:play {4 + PAUSE:.1f}s step-end infinite", text)
        self.assertIn("20.00%{transform:translateY(-", text)

    def test_published(self) -> None:
        """The one of README: small, without scripts and anything from elsewhere; ``make recording`` makes it anew."""
        text = (ROOT / "docs/demo.svg").read_text(encoding="utf-8")
        self.assertLess(len(text.encode()), 150_000)
        words = "".join(ElementTree.fromstring(text).itertext())
        for phase in ("sidecar alone", "laptop, weight 255", "laptop killed", "X-User: alice"):
            self.assertIn(phase, words)
        for word in ("<script", "http://www.w3.org/1999", "url(", "<image", "foreignObject"):
            self.assertNotIn(word, text)
        self.assertIn("(docs/demo.svg)", (ROOT / "README.md").read_text(encoding="utf-8"))
