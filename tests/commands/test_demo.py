"""The command line of the demo, as far as nothing is started."""

from __future__ import annotations

from rtunnel.ids import mask_ids
from tests.commands.harness import CommandTestCase


class ArgumentTests(CommandTestCase):
    """Wrong arguments."""

    def test_help_has_an_example(self) -> None:
        status, output, errors = self.run_command("demo", "--help")
        self.assertEqual((status, errors), (0, ""))
        self.assertIn("rtunnel demo --plain --requests 100", output)
        self.assertLessEqual(max(map(len, output.splitlines())), 120)

    def test_wrong_number(self) -> None:
        for text in ("19", "100001", "9" * 5000, "x", "1e3", "²²", ""):
            status, output, errors = self.run_command("demo", "--requests", text)
            self.assertEqual((status, output), (1, ""))
            self.assertEqual(
                errors,
                f'rtunnel demo: --requests: "{mask_ids(text)}" must be a whole number from 20 to 100000; see rtunnel demo --help\n',
            )

    def test_unknown(self) -> None:
        for arguments in (("--fast",), ("--req", "50"), ("now",), ("--requests",)):
            status, output, errors = self.run_command("demo", *arguments)
            self.assertEqual((status, output, errors.count("\n")), (1, "", 1), errors)
            self.assertIn(arguments[0], errors)
