"""The arguments of commands that end by themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from rtunnel.cli.exit_status import ExitStatus
from rtunnel.masking import mask_words
from rtunnel.options.kinds import Kind

__all__ = ["Parser", "argument"]


class Parser(argparse.ArgumentParser):
    """Parses the arguments of one command; wrong ones end the process with one line on stderr, as everywhere in rtunnel.

    :param command: the name of the command.
    :param description: what it does; the help keeps its lines.
    :param epilog: examples and exit statuses, likewise.
    """

    def __init__(self, command: str, *, description: str, epilog: str, **more: Any) -> None:
        super().__init__(
            prog=f"rtunnel {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(ExitStatus.FAILED, f"{self.prog}: {mask_words(message.removeprefix('argument '))}; see {self.prog} --help\n")


def argument(kind: Kind) -> Callable[[str], Any]:
    """A type of argparse for values of a kind, as everywhere in rtunnel."""

    def parse(text: str) -> Any:
        try:
            return kind.parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f'"{text}": {error}') from None

    return parse
