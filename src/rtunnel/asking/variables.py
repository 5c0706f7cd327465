"""The arguments with which variables of a pod are chosen, and others set beside them."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from rtunnel.cli.exit_status import CommandError
from rtunnel.podenv.merging import Choice
from rtunnel.podenv.rules import Patterns, patterns_of
from rtunnel.podenv.sources import SourceError, read_dotenv

__all__ = ["add_choice", "choice_of"]

EVERYTHING: Patterns = patterns_of("*")


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add = parser.add_argument
    patterns: Any = partial(add, type=patterns_of, action="extend", metavar="NAME[,...]")
    patterns("--include", default=[], help="take only these of the pod; * is any text; repeatable")
    patterns("--exclude", default=[], help="do not take these of the pod; repeatable")
    pairs: Any = partial(add, type=_pair, action="append", default=[])
    pairs("--rename", metavar="NAME=NEW", help="another name for a variable of the pod; repeatable")
    add("--env-file", metavar="FILE", help="variables of a dotenv file, before those of the pod")
    pairs("--set", metavar="NAME=VALUE", help="a variable before all others; repeatable")
    add("--unset", action="append", default=[], metavar="NAME", help="a variable that is left out, or removed; repeatable")
    add("--local-wins", action="store_true", help="leave variables alone that are set here")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f'"{name}" has no "="; write NAME=VALUE')
    return name, value


def choice_of(arguments: argparse.Namespace) -> Choice:
    """What is wanted of the pod's variables.

    :raises CommandError: the file cannot be read.
    """
    try:
        file = {} if arguments.env_file is None else read_dotenv(arguments.env_file)
    except SourceError as error:
        raise CommandError(f"--env-file {error}") from None
    return Choice(
        include=tuple(arguments.include) or EVERYTHING,
        exclude=tuple(arguments.exclude),
        rename=dict(arguments.rename),
        file=file,
        sets=dict(arguments.set),
        unset=frozenset(arguments.unset),
        local_wins=arguments.local_wins,
    )
