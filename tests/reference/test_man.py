"""The manual pages: those in ``man/`` are up to date, and those that read them have nothing to complain of."""

from __future__ import annotations

import re
import subprocess

import attrs
from twisted.trial.unittest import SynchronousTestCase

import rtunnel
from rtunnel.commands import COMMANDS
from rtunnel.reference.describing import Argument, Description, Section
from rtunnel.reference.man import page
from tests.reference.pages import FOLDER, pages
from tests.support.processes import needed


class PageTests(SynchronousTestCase):
    def test_up_to_date(self) -> None:
        """``make man`` writes them anew."""
        kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.1")}
        stale = sorted(name for name, text in pages().items() if kept.get(name) != text)
        self.assertEqual((stale, sorted(set(kept) - set(pages()))), ([], []), "run: make man")

    def test_each_command_has_one(self) -> None:
        self.assertEqual(set(pages()), {"rtunnel.1", *(f"rtunnel-{command.name}.1" for command in COMMANDS)})

    def test_no_version(self) -> None:
        """A release does not change them."""
        self.assertNotIn(rtunnel.__version__, "".join(pages().values()))

    def test_mandoc(self) -> None:
        done = subprocess.run(
            [needed("mandoc"), "-Tlint", "-W", "warning", *sorted(map(str, FOLDER.glob("*.1")))],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_as_it_is_read(self) -> None:
        """An option and an example, as they are typed."""
        done = subprocess.run(
            [needed("mandoc"), "-Tascii", "-O", "width=200", str(FOLDER / "rtunnel-client.1")],
            capture_output=True,
            timeout=60,
            check=True,
        )
        # a letter that is struck twice is bold, one with "_" below it is underlined
        text = re.sub(r"(?s).\x08", "", done.stdout.decode())
        self.assertRegex(text, r"--weight N\n +share of the requests, 1 to 255; 255 takes all of them \(default: 1\)\n")
        self.assertRegex(text, r"\n +rtunnel client --server wss://shop\.example\.org/proxy \\\n")


class TextTests(SynchronousTestCase):
    """What could be taken for a request or an escape is none."""

    def test_odd_texts(self) -> None:
        odd = Argument(("--a-b",), "C-D", ".so /etc/passwd \\fBold 'x'")
        description = Description("x", ".x", "First. Second.\n\n  code 'x' \\\n  .so y\n", (), (Section("Options", (odd,)),), "")
        lines = page(attrs.evolve(description, notes="  one\\\ntwo\n")).splitlines()
        self.assertIn("onetwo", lines)
        self.assertFalse([line for line in lines if line.startswith(("'", ".so"))])
        self.assertIn("\\&.so /etc/passwd \\efBold 'x'", lines)
        self.assertIn("\\fB\\-\\-a\\-b\\fR \\fIC\\-D\\fR", lines)
        self.assertIn("code \\(aqx\\(aq \\e", lines)
        self.assertEqual(lines[lines.index("First.") + 1], "Second.")

    def test_parts_of_the_notes(self) -> None:
        notes = "Some words.\n\nexamples:\n  rtunnel x\n\nMore words.\nThe exit status is 0.\n"
        text = page(Description("x", "s", "t", (), (), notes))
        parts = [line.removeprefix(".SH ").strip('"') for line in text.splitlines() if line.startswith(".SH")]
        self.assertEqual(parts[-4:], ["NOTES", "EXIT STATUS", "EXAMPLES", "SEE ALSO"])
