"""What ``--help`` of a command that runs under twistd prints: an example first, then the options, then gost's URLs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rtunnel.ids import EXAMPLE
from rtunnel.options.groups import PROCESS, URLS, groups
from rtunnel.options.table import Option, default

__all__ = ["EXAMPLE_ID", "service_help"]

EXAMPLE_ID = str(EXAMPLE)
"""The tunnel of all examples."""

_WIDTH = 80
_COLUMN = 26

_NOTES = """\
Times are written like 15s, 1m30s, 250ms or as a number of seconds; sizes like
64KiB or as a number of bytes. Each option is also an environment variable,
--path for example RTUNNEL_PATH (lists with commas); the command line wins.
"""


def service_help(command: str, introduction: str, rows: Iterable[Option], url_examples: str) -> str:
    """The help of a command that runs under twistd.

    :param command: its name.
    :param introduction: its beginning; ``{uuid}`` in it becomes an ID.
    :param rows: the options.
    :param url_examples: the example of the introduction with URLs of gost.
    """
    rows = list(rows)
    parts = [introduction.format(uuid=EXAMPLE_ID)]
    for heading, options in groups(command, rows).items():
        lines = _lines(option for option in options if not option.secret)
        if heading == PROCESS:
            lines += _line("--help", "show this help") + _line("--version", "show the version")
        if heading != URLS:
            parts.append(f"{heading}:\n{lines}")
    secret = [option for option in rows if option.secret]
    if secret:
        parts.append("From the environment only:\n" + "".join(_line(option.variable, option.help) for option in secret))
    parts += [url_examples.format(uuid=EXAMPLE_ID) + _lines(option for option in rows if not option.field), _NOTES]
    return "\n".join(parts)


def _lines(options: Iterable[Option]) -> str:
    return "".join(_line(_usage(option), _description(option)) for option in options)


def _usage(option: Option) -> str:
    short = f", -{option.short}" if option.short else ""
    return f"{option.flag}{short} {option.kind.metavar}".strip()


def _description(option: Option) -> str:
    value = default(option)
    return f"{option.help} (default: {value})" if value is not None and option.kind.metavar else option.help


def _line(left: str, right: str) -> str:
    indent = " " * (_COLUMN + 2)
    text = textwrap.fill(right, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    if len(left) > _COLUMN - 1:
        return f"  {left}\n{text}\n"
    return f"  {left:<{_COLUMN}}{text[_COLUMN + 2 :]}\n"
