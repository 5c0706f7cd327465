"""The arguments of commands that end by themselves."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from rtunnel.cli.exit_status import ExitStatus
from rtunnel.masking import mask_words
from rtunnel.options.kinds import Kind
from rtunnel.options.layers import RawOption
from rtunnel.options.table import Option

__all__ = ["Parser", "add_options", "argument", "divided"]


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


def add_options(group: Any, options: Iterable[Option]) -> None:
    """Add options of a service, for a command that reads its settings; what was given is collected as ``raw``.

    :param group: of the parser.
    """
    for option in options:
        short = (f"-{option.short}",) if option.short else ()
        group.add_argument(
            *short,
            option.flag,
            dest="raw",
            action=_TakeOption,
            option=option,
            nargs=None if option.kind.metavar else 0,
            metavar=option.kind.metavar.replace("%", "%%") or None,
            help=option.help.replace("%", "%%"),
        )


class _TakeOption(argparse.Action):
    """Collects the options of a service as they were given."""

    def __init__(self, *, option: Option, **more: Any) -> None:
        super().__init__(**more)
        self._option = option

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        raw: RawOption = (self._option, self._option.flag, values if self._option.kind.metavar else "true")
        namespace.raw = [*(namespace.raw or ()), raw]


def divided(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments of a command of ours, and the words behind ``--``, which are another command."""
    if "--" not in argv:
        return argv, ()
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]
