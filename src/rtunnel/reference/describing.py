"""What a command takes: its options by their groups, and its words."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import attrs

from rtunnel.cli.command import Command, ServiceCommand
from rtunnel.cli.service_help import EXAMPLE_ID
from rtunnel.options.groups import groups
from rtunnel.options.table import Option, default

__all__ = ["OPTIONS", "Argument", "Completes", "Description", "Section", "describe"]

_CHOICES = re.compile(r"[a-z-]+(?:\|[a-z-]+)+")
OPTIONS: Final = "Options"
"""The title of the options that have no other."""


class Completes(StrEnum):
    """What a shell offers for a value, besides choices."""

    NOTHING = "nothing"
    FILE = "file"
    PROFILE = "profile"


@attrs.frozen
class Argument:
    """An option, or a word.

    :ivar flags: its names; empty for a word.
    :ivar metavar: the placeholder of its value; ``""`` for a switch.
    :ivar help: what it does.
    :ivar choices: its values, if there are only some.
    :ivar repeatable: whether it can be given again.
    :ivar optional: of a word: whether it can be left out.
    :ivar completes: what a shell offers for its value.
    """

    flags: tuple[str, ...]
    metavar: str
    help: str
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    optional: bool = False
    completes: Completes = Completes.NOTHING


@attrs.frozen
class Section:
    """Some options under a heading."""

    title: str
    arguments: tuple[Argument, ...]


@attrs.frozen
class Description:
    """What a command takes.

    :ivar name: of the command.
    :ivar summary: what it does, in one line.
    :ivar text: what it does, in some; lines that are indented are examples.
    :ivar words: its words, in their order.
    :ivar sections: its options.
    :ivar notes: what else its ``--help`` says.
    :ivar usage: how it is called, where that does not follow from the words.
    :ivar variables: options that are taken from the environment only: the variable, and what it does.
    """

    name: str
    summary: str
    text: str
    words: tuple[Argument, ...]
    sections: tuple[Section, ...]
    notes: str
    usage: str = ""
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> Iterator[Argument]:
        """All of its options."""
        return (argument for section in self.sections for argument in section.arguments)


def describe(command: Command) -> Description:
    """What a command takes."""
    return _of_service(command) if isinstance(command, ServiceCommand) else _of_parser(command)


# -- services


def _of_service(command: ServiceCommand) -> Description:
    options = command.options()
    rows = options.role.rows
    sections = [
        Section(title, tuple(map(_of_option, (option for option in listed if not option.secret))))
        for title, listed in groups(command.name, rows).items()
    ]
    own = (Argument(("--help",), "", "show the help"), Argument(("--version",), "", "show the version"))
    _, _, text = options.introduction.format(uuid=EXAMPLE_ID).partition("\n\n")
    return Description(
        name=command.name,
        summary=command.summary,
        text=text,
        words=(),
        sections=(*(section for section in sections if section.arguments), Section("More", own)),
        notes=options.url_examples.format(uuid=EXAMPLE_ID),
        variables=tuple((option.variable, option.help) for option in rows if option.secret),
    )


def _of_option(option: Option) -> Argument:
    kind = option.kind
    value = default(option)
    return Argument(
        flags=(option.flag, *((f"-{option.short}",) if option.short else ())),
        metavar=kind.metavar,
        help=f"{option.help} (default: {value})" if value is not None and kind.metavar else option.help,
        choices=tuple(kind.metavar.split("|")) if _CHOICES.fullmatch(kind.metavar) else (),
        repeatable=option.many,
        completes=_completes(kind.metavar, option.name),
    )


def _completes(metavar: str, name: str) -> Completes:
    if metavar == "FILE":
        return Completes.FILE
    return Completes.PROFILE if name == "profile" or metavar == "PROFILE" else Completes.NOTHING


# -- commands that end


def _of_parser(command: Command) -> Description:
    parser = command.parser()
    words: list[Argument] = []
    sections = []
    for group in parser._action_groups:
        arguments = tuple(_of_actions(parser, group._group_actions))
        words += (argument for argument in arguments if not argument.flags)
        flags = tuple(argument for argument in arguments if argument.flags)
        if flags:
            title = group.title or ""
            sections.append(Section(OPTIONS if title == "options" else title[:1].upper() + title[1:], flags))
    return Description(
        name=command.name,
        summary=command.summary,
        text=parser.description or "",
        words=tuple(words),
        sections=tuple(sections),
        notes=parser.epilog or "",
        usage=parser.usage or "",
    )


def _of_actions(parser: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> Iterator[Argument]:
    for action in actions:
        if action.help == argparse.SUPPRESS:
            continue
        choices = tuple(map(str, action.choices or ()))
        metavar = action.metavar if isinstance(action.metavar, str) else "|".join(choices) or action.dest.upper()
        # a HOST may be a profile where a profile can be given
        profile = not action.option_strings and metavar == "HOST" and "--profile" in parser._option_string_actions
        yield Argument(
            flags=tuple(action.option_strings),
            metavar="" if action.nargs == 0 else metavar,
            help=(action.help or "") % {**vars(action), "prog": parser.prog},
            choices=choices,
            repeatable=isinstance(action, argparse._AppendAction | argparse._ExtendAction) or action.nargs in ("*", "+", "..."),
            optional=action.nargs in ("?", "*", "..."),
            completes=Completes.PROFILE if profile else _completes(metavar, action.dest),
        )
