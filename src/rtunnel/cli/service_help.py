"""What ``--help`` of a command that runs under twistd prints: an example first, then the options, then gost's URLs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from rtunnel.ids import EXAMPLE
from rtunnel.options.table import Option, default

__all__ = ["EXAMPLE_ID", "service_help"]

EXAMPLE_ID = str(EXAMPLE)
"""The tunnel of all examples."""

_WIDTH = 100
_COLUMN = 30

_NOTES = """\
Times are written like 15s, 1m30s, 250ms or as a number of seconds; sizes like 64KiB or as a number of bytes.
Each option is also an environment variable, --path for example RTUNNEL_PATH (lists with commas); the command line wins.
"""

_GROUPS = {
    "": "Options",
    "tls": "TLS of the tunnel",
    "http": "HTTP at the entrypoints",
    "health": "Clients that cannot serve",
    "leases": "Leases of clients",
    "forward": "Forwarding to the target",
    "udp": "UDP",
    "mux": "Links",
    "limits": "Limits",
    "access_log": "Access log",
}
"""The headings of the options, by the group of their settings, in their order."""


def service_help(introduction: str, rows: Iterable[Option], url_examples: str) -> str:
    """The help of a command that runs under twistd.

    :param introduction: its beginning; ``{uuid}`` in it becomes an ID.
    :param rows: the options.
    :param url_examples: the example of the introduction with URLs of gost.
    """
    rows = list(rows)
    parts = [introduction.format(uuid=EXAMPLE_ID)]
    for group, heading in _GROUPS.items():
        lines = _lines(option for option in rows if option.field and not option.secret and option.group == group)
        if not group:
            lines += _line("--help", "show this help") + _line("--version", "show the version")
        if lines:
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
