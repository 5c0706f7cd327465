"""The table of commands, and the files that it names."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import rtunnel.commands
from rtunnel.cli.command import ServiceCommand
from rtunnel.cli.help import command_help
from rtunnel.commands import COMMANDS, find

FOLDER = Path(rtunnel.commands.__file__).parent


class TableTests(SynchronousTestCase):
    def test_one_file_for_each_command(self) -> None:
        files = {path.stem.replace("_", "-") for path in FOLDER.glob("[!_]*.py")}
        self.assertEqual({command.name for command in COMMANDS}, files)
        self.assertEqual(len(COMMANDS), len(files))

    def test_find(self) -> None:
        for command in COMMANDS:
            self.assertIs(find(command.name), command)
        self.assertIsNone(find("nonsense"))

    def test_parsers(self) -> None:
        """Each command that is no service tells what its arguments are."""
        for command in COMMANDS:
            if not isinstance(command, ServiceCommand):
                self.assertEqual(command.parser().prog, f"rtunnel {command.name}")

    def test_help_names_all_of_them(self) -> None:
        text = command_help(COMMANDS)
        words = " ".join(text.split())
        for command in COMMANDS:
            self.assertIn(f"\n  {command.name} ", text)
            self.assertIn(f" {command.name} {command.summary} ", words)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
